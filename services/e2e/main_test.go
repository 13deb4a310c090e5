package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// suite is the running stack, set once by TestMain before any test runs.
var suite *stack

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetLogger(logr.Discard()) // of the tests' own client
	os.Exit(run(m))
}

func run(m *testing.M) int {
	started, err := startStack(context.Background())
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: start the local stack: %v\n", err)
		return 1
	}
	suite = started
	code := m.Run()
	if err := suite.survived.write(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: write the table of what was survived: %v\n", err)
		code = 1
	}
	if code != 0 {
		suite.printLogTails(os.Stderr)
	}
	if err := suite.stop(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: stop the local stack: %v\n", err)
		return 1
	}
	return code
}
