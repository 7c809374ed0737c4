package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// stopsWithin is how long questions that are being answered have when the server stops.
const stopsWithin = 2 * time.Second

// Server answers from a zone and asks resolvers for the rest.
type Server struct {
	Zone     *Zone
	Resolver *Resolver
	Log      *slog.Logger
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
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopsWithin)
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
	from, err := netip.ParseAddrPort(w.RemoteAddr().String())
	if err != nil {
		s.Log.Debug("reading who asks", "client", w.RemoteAddr().String(), "err", err)
	}
	reply := s.answer(ctx, r, from.Addr().Unmap())
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

func (s *Server) answer(ctx context.Context, r *dns.Msg, from netip.Addr) *dns.Msg {
	if r.Opcode != dns.OpcodeQuery || len(r.Question) != 1 {
		return new(dns.Msg).SetRcode(r, dns.RcodeNotImplemented)
	}
	q := r.Question[0]
	found := s.Zone.Lookup(q, from)
	if !found.Ours {
		return s.Resolver.Resolve(ctx, r)
	}
	if found.Unsure {
		return new(dns.Msg).SetRcode(r, dns.RcodeServerFailure) // clients ask again
	}
	m := new(dns.Msg).SetReply(r)
	m.Authoritative, m.RecursionAvailable = true, true
	m.Answer, m.Extra = found.Answer, found.Extra
	if found.Chase != "" && q.Qtype != dns.TypeCNAME {
		m.Answer = append(m.Answer, s.chase(ctx, dns.Question{Name: found.Chase, Qtype: q.Qtype, Qclass: dns.ClassINET}, from)...)
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
func (s *Server) chase(ctx context.Context, q dns.Question, from netip.Addr) []dns.RR {
	if local := s.Zone.Lookup(q, from); local.Ours {
		return local.Answer // one step: a chain of ExternalNames is a mistake or a loop
	}
	return s.Resolver.Resolve(ctx, new(dns.Msg).SetQuestion(q.Name, q.Qtype)).Answer
}
