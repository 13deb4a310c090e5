package stack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Info describes a running stack: the one line that `local run` prints, and stack.json in the run's folder.
type Info struct {
	// Name is the run's name.
	Name string `json:"name"`
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string `json:"kubeconfig"`
	// Accounts holds the paths of the kubeconfigs of ServiceAccounts by account name, when manifests were installed.
	Accounts map[string]string `json:"accounts,omitempty"`
	// Charts is the HTTP chart repository.
	Charts ChartsInfo `json:"charts"`
	// Registry is the OCI registry.
	Registry RegistryInfo `json:"registry"`
	// Services are the addresses of the two services, when they were started.
	Services *ServicesInfo `json:"services,omitempty"`
	// Bin is the folder of kubectl, helm and the control plane's programs.
	Bin string `json:"bin"`
	// Logs is the folder of the programs' logs.
	Logs string `json:"logs"`
	// SupervisorPID ends the stack on SIGTERM.
	SupervisorPID int `json:"supervisorPID"`
	// PIDs are the ids of the programs by name.
	PIDs map[string]int `json:"pids"`
}

// ChartsInfo describes the HTTP chart repository.
type ChartsInfo struct {
	// URL is its address; each folder below Dir is a repository of its own.
	URL string `json:"url"`
	// Dir is the folder that it serves: put a chart archive there and it is in the index.
	Dir string `json:"dir"`
	// Username and Password are set when it asks for them.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// RegistryInfo describes the OCI registry.
type RegistryInfo struct {
	// Host is host:port.
	Host string `json:"host"`
	// PlainHTTP is set unless it serves TLS.
	PlainHTTP bool `json:"plainHTTP"`
	// CA is the path of the certificate authority, with TLS.
	CA string `json:"ca,omitempty"`
	// Username and Password are set when it asks for them.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// ServicesInfo holds the addresses (host:port) of the two services.
type ServicesInfo struct {
	ChartcacheGRPC    string `json:"chartcacheGRPC"`
	ChartcacheMetrics string `json:"chartcacheMetrics"`
	ChartcacheHealth  string `json:"chartcacheHealth"`
	OperatorMetrics   string `json:"operatorMetrics"`
	OperatorHealth    string `json:"operatorHealth"`
}

// LogTails returns the last lines of the logs of these programs, or of all, for people who look for a reason.
func (s *Stack) LogTails(lines int, programs ...string) string {
	logs, _ := filepath.Glob(filepath.Join(s.run.Logs(), "*.log"))
	slices.Sort(logs)
	var out strings.Builder
	for _, log := range logs {
		program := strings.TrimSuffix(filepath.Base(log), ".log")
		if len(programs) > 0 && !slices.Contains(programs, program) {
			continue
		}
		if end := tail(log, lines); end != "" {
			fmt.Fprintf(&out, "--- end of the log of %s\n%s\n", program, end)
		}
	}
	return out.String()
}

// longestLine bounds the lines that tail returns, in bytes.
const longestLine = 500

// tail returns the last lines of a file, of its last 64 KiB at most, and of each line the beginning.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	const enough = 64 << 10
	data = bytes.TrimSpace(data[max(0, len(data)-enough):])
	all := strings.Split(string(data), "\n")
	all = all[max(0, len(all)-lines):]
	for i, line := range all {
		if len(line) > longestLine {
			all[i] = strings.ToValidUTF8(line[:longestLine], "") + "..."
		}
	}
	return strings.Join(all, "\n")
}
