package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// upstreamTimeout bounds one try at one resolver.
const upstreamTimeout = 2 * time.Second

// Server answers from a zone and asks the upstream resolvers, "ADDR:PORT", for
// the rest.
type Server struct {
	Zone     *Zone
	Upstream []string
	Log      *slog.Logger
}

// Resolvers returns the resolvers of a resolv.conf as "ADDR:53", less the given
// address; none if the file cannot be read.
func Resolvers(path string, less string) []string {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil
	}
	var all []string
	for _, s := range conf.Servers {
		if s != less {
			all = append(all, net.JoinHostPort(s, conf.Port))
		}
	}
	return all
}

// Serve answers on both sockets until ctx ends, and closes them.
func (s *Server) Serve(ctx context.Context, packets net.PacketConn, streams net.Listener) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) { s.handle(ctx, w, r) })
	g, ctx := errgroup.WithContext(ctx)
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: streams, Handler: handler}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		ended := make(chan struct{})
		g.Go(func() error {
			defer close(ended)
			return server.ActivateAndServe()
		})
		g.Go(func() error {
			select {
			case <-started:
			case <-ended:
				return nil
			}
			<-ctx.Done()
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), upstreamTimeout)
			defer cancel()
			if err := server.ShutdownContext(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("stopping the DNS server: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *Server) handle(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) {
	reply := s.answer(ctx, r)
	if w.LocalAddr().Network() == "udp" {
		reply.Truncate(payload(r))
	}
	if err := w.WriteMsg(reply); err != nil {
		s.Log.Debug("answering a DNS query", "client", w.RemoteAddr().String(), "err", err)
	}
}

// payload returns how much the client takes in one datagram (RFC 6891), within
// what crosses networks unbroken.
func payload(r *dns.Msg) int {
	if opt := r.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), 4096)
	}
	return dns.MinMsgSize
}

func (s *Server) answer(ctx context.Context, r *dns.Msg) *dns.Msg {
	if r.Opcode != dns.OpcodeQuery || len(r.Question) != 1 {
		return new(dns.Msg).SetRcode(r, dns.RcodeNotImplemented)
	}
	q := r.Question[0]
	found := s.Zone.Lookup(q)
	if !found.Ours {
		return s.forward(ctx, r)
	}
	m := new(dns.Msg).SetReply(r)
	m.Authoritative, m.RecursionAvailable = true, true
	m.Answer, m.Extra = found.Answer, found.Extra
	if found.Chase != "" && q.Qtype != dns.TypeCNAME {
		m.Answer = append(m.Answer, s.chase(ctx, found.Chase, q.Qtype)...)
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{s.Zone.soa()}
	}
	if !found.Exists {
		m.Rcode = dns.RcodeNameError
	}
	if opt := r.IsEdns0(); opt != nil {
		m.SetEdns0(4096, opt.Do())
	}
	return m
}

// chase returns the records of the name an ExternalName leads to.
func (s *Server) chase(ctx context.Context, name string, qtype uint16) []dns.RR {
	q := new(dns.Msg).SetQuestion(name, qtype)
	if local := s.Zone.Lookup(q.Question[0]); local.Ours {
		return local.Answer // one step: a chain of ExternalNames is a mistake or a loop
	}
	return s.forward(ctx, q).Answer
}

// forward asks each resolver in turn, over UDP and, if that was cut off, TCP.
func (s *Server) forward(ctx context.Context, r *dns.Msg) *dns.Msg {
	for _, addr := range s.Upstream {
		for _, network := range []string{"udp", "tcp"} {
			client := dns.Client{Net: network, Timeout: upstreamTimeout, UDPSize: 4096}
			q := r.Copy()
			q.Id = dns.Id()
			m, _, err := client.ExchangeContext(ctx, q, addr)
			if err != nil {
				s.Log.Debug("asking a resolver", "resolver", addr, "network", network, "err", err)
				break
			}
			if m.Truncated && network == "udp" {
				continue
			}
			if m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused {
				break // the next one may know better
			}
			m.Id, m.Question = r.Id, slices.Clone(r.Question)
			return m
		}
	}
	return new(dns.Msg).SetRcode(r, dns.RcodeServerFailure)
}
