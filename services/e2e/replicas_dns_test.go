package e2e

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// serveName answers DNS queries for the IPv4 addresses of one name, as the DNS of a cluster does for a headless Service, and
// returns where. Other names do not exist.
func serveName(t *testing.T, name string, addresses ...netip.Addr) string {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		query := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(query)
			if err != nil {
				return // closed
			}
			if reply, err := answer(query[:n], name+".", addresses); assert.NoError(t, err) {
				_, _ = socket.WriteTo(reply, from) // whoever asked asks again
			}
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, socket.Close())
		serving.Wait()
	})
	return socket.LocalAddr().String()
}

func answer(query []byte, name string, addresses []netip.Addr) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true},
		Questions: []dnsmessage.Question{question},
	}
	switch {
	case question.Name.String() != name:
		reply.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		for _, address := range addresses {
			reply.Answers = append(reply.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	return reply.Pack()
}
