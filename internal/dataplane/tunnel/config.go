package tunnel

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"trireme/internal/kind"
)

// Port is the UDP port of the tunnel's packets between nodes.
const Port = 7702

// State is what the process is told.
type State struct {
	Private []byte
	Peers   map[PublicKey]netip.Addr // the other nodes' addresses
}

// config is a State as the process has it: keys in hexadecimal.
type config struct {
	private, port string
	peers         map[string]peer
}

type peer struct{ endpoint, allowed string }

func (s *State) config() config {
	c := config{private: hex.EncodeToString(s.Private), port: fmt.Sprint(Port), peers: map[string]peer{}}
	for key, a := range s.Peers {
		if b, err := key.bytes(); err == nil {
			c.peers[hex.EncodeToString(b)] = peer{netip.AddrPortFrom(a, Port).String(), netip.PrefixFrom(a, a.BitLen()).String()}
		}
	}
	return c
}

// changes is what makes have into want; empty: nothing. Keepalives that are turned on
// and off again begin a handshake at once: a peer that did not know us when it began its
// own would wait for five seconds.
func changes(have, want config) string {
	var b strings.Builder
	line := func(key, value string) { b.WriteString(key + "=" + value + "\n") }
	renewed := have.private != want.private
	if renewed {
		line("private_key", want.private)
	}
	if have.port != want.port {
		line("listen_port", want.port)
	}
	for _, key := range slices.Sorted(maps.Keys(have.peers)) {
		if _, stays := want.peers[key]; !stays {
			line("public_key", key)
			line("remove", "true")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want.peers)) {
		p := want.peers[key]
		same := have.peers[key] == p
		if same && !renewed {
			continue
		}
		line("public_key", key)
		if !same {
			line("endpoint", p.endpoint)
			line("replace_allowed_ips", "true")
			line("allowed_ip", p.allowed)
		}
		line("persistent_keepalive_interval", "1")
		line("public_key", key)
		line("persistent_keepalive_interval", "0")
	}
	return b.String()
}

// parse reads what the process answers to get=1.
func parse(r io.Reader) (config, error) {
	c := config{peers: map[string]peer{}}
	var key string
	err := answer(r, func(name, value string) {
		p := c.peers[key]
		switch name {
		case "private_key":
			c.private = value
		case "listen_port":
			c.port = value
		case "public_key":
			key, p = value, c.peers[value]
		case "endpoint":
			p.endpoint = value
		case "allowed_ip":
			p.allowed += value
		}
		if key != "" {
			c.peers[key] = p
		}
	})
	return c, err
}

// answer reads lines until the empty one that ends an answer.
func answer(r io.Reader, each func(name, value string)) error {
	lines := bufio.NewScanner(r)
	errno := "none"
	for lines.Scan() {
		if lines.Text() == "" {
			if errno != "0" {
				return kind.New(kind.Unavailable, "the tunnel refuses: errno %s", errno)
			}
			return nil
		}
		name, value, _ := strings.Cut(lines.Text(), "=")
		if name == "errno" {
			errno = value
			continue
		}
		each(name, value)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
