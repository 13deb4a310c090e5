package localstack

import (
	"context"
	"net"
	"path/filepath"
)

// Programs are our services, built.
type Programs struct{ dir string }

// Build compiles services, chartcache or operator, into the folder of c, where their logs will be, too.
func Build(ctx context.Context, c Config, services ...string) (Programs, error) {
	args := []string{"-o", c.Dir + string(filepath.Separator)}
	for _, service := range services {
		args = append(args, "./"+service)
	}
	if err := goBuild(ctx, c, filepath.Join(c.Source, "services"), "GOWORK=", args...); err != nil {
		return Programs{}, err
	}
	return Programs{dir: c.Dir}, nil
}

// Path returns the executable of a service that was built.
func (p Programs) Path(service string) string { return filepath.Join(p.dir, service) }

// Chartcache describes a chartcache process on free loopback addresses. It does not start it.
func (p Programs) Chartcache(name, dataDir string, args ...string) (*Service, error) {
	grpc, metrics, health, err := threeAddresses()
	if err != nil {
		return nil, err
	}
	return &Service{
		Name: name, GRPC: grpc, Metrics: metrics, Health: health,
		binary: p.Path("chartcache"), logFile: filepath.Join(p.dir, name+".log"),
		args: append([]string{
			"serve", "--data-dir", dataDir, "--grpc-bind-address", grpc,
			"--metrics-bind-address", metrics, "--health-probe-bind-address", health,
		}, args...),
	}, nil
}

// Operator describes an operator process on free loopback addresses. It does not start it.
func (p Programs) Operator(name string, args ...string) (*Service, error) {
	_, metrics, health, err := threeAddresses()
	if err != nil {
		return nil, err
	}
	return &Service{
		Name: name, Metrics: metrics, Health: health,
		binary: p.Path("operator"), logFile: filepath.Join(p.dir, name+".log"),
		args: append([]string{"--metrics-bind-address", metrics, "--health-probe-bind-address", health}, args...),
	}, nil
}

// threeAddresses returns free loopback addresses. Another process could take one before it is used; services report
// that at once.
func threeAddresses() (first, second, third string, err error) {
	var addresses [3]string
	var listeners []net.Listener // all open until the last one is there, so that no two are the same
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", "", err
		}
		listeners = append(listeners, listener)
		addresses[i] = listener.Addr().String()
	}
	for _, listener := range listeners {
		if err := listener.Close(); err != nil {
			return "", "", "", err
		}
	}
	return addresses[0], addresses[1], addresses[2], nil
}
