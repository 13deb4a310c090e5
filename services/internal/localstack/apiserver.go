package localstack

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// APIServer describes one more kube-apiserver beside that of the stack, on the same storage and with the same certificates,
// as a control plane of several machines has. It can end and start again at the same address without harm to the stack. The
// URL is where it serves. It is not started.
func (s *Stack) APIServer(name string) (service *Service, url string, err error) {
	args, err := commandLine(s.Info.PIDs["kube-apiserver"])
	if err != nil {
		return nil, "", fmt.Errorf("read the command line of kube-apiserver: %w", err)
	}
	address, _, _, err := threeAddresses()
	if err != nil {
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, "", err
	}
	for i, arg := range args {
		if strings.HasPrefix(arg, "--secure-port=") {
			args[i] = "--secure-port=" + port
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.Info.Kubeconfig)
	if err != nil {
		return nil, "", err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, "", err
	}
	url = "https://" + address
	return &Service{
		Name: name, Health: address, binary: args[0], args: args[1:], logFile: filepath.Join(s.Programs.dir, name+".log"),
		readyz: url + "/readyz", client: client,
	}, url, nil
}

// commandLine returns the program of a process and its arguments.
func commandLine(pid int) ([]string, error) {
	if pid == 0 {
		return nil, errors.New("the launcher did not say which process it is")
	}
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return nil, err
	}
	var args []string
	for arg := range bytes.SplitSeq(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
		args = append(args, string(arg))
	}
	return args, nil
}
