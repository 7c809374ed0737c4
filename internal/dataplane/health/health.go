// Package health answers the health checks of load balancers outside the cluster: on
// a port of the node for each service that keeps to its nodes
// (spec.healthCheckNodePort), whether this node has endpoints of it.
//
// The answer is what kube-proxy gives: 200 or 503, the count in the header
// X-Load-Balancing-Endpoint-Weight and in a JSON body. Endpoints that are ending do
// not count, so that a load balancer leaves the node before they are gone.
//
// Set may be called at any time; listening is Run's. A port that somebody else has is
// logged and tried again with the next change.
//
// Debug: curl NODE:PORT.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Server answers for all services of a node.
type Server struct {
	listen func(port int32) (net.Listener, error)
	log    *slog.Logger
	wake   chan struct{}

	mu       sync.Mutex
	services map[int32]service // by port
	ports    map[types.NamespacedName]int32
}

type service struct {
	name  types.NamespacedName
	local int
}

// New returns a server that opens its ports with listen.
func New(listen func(port int32) (net.Listener, error), log *slog.Logger) *Server {
	return &Server{
		listen: listen, log: log, wake: make(chan struct{}, 1),
		services: map[int32]service{}, ports: map[types.NamespacedName]int32{},
	}
}

// Set says on which port a service is asked for, and how many endpoints it has here;
// port 0: it is not.
func (s *Server) Set(name types.NamespacedName, port int32, local int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.ports[name]
	if was == 0 && port == 0 {
		return
	}
	if was != 0 && s.services[was].name == name {
		delete(s.services, was)
	}
	if delete(s.ports, name); port != 0 {
		s.ports[name], s.services[port] = port, service{name, local}
	}
	if was != port {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	open := map[int32]*http.Server{}
	defer func() {
		for _, h := range open {
			h.Close()
		}
	}()
	for {
		s.mu.Lock()
		want := maps.Clone(s.services)
		s.mu.Unlock()
		for port, h := range open {
			if _, ok := want[port]; !ok {
				h.Close()
				delete(open, port)
			}
		}
		for port := range want {
			if open[port] == nil {
				open[port] = s.open(port, &serving)
			}
			if open[port] == nil {
				delete(open, port)
			}
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// open serves a port; nil: it cannot.
func (s *Server) open(port int32, serving *sync.WaitGroup) *http.Server {
	l, err := s.listen(port)
	if err != nil {
		s.log.Warn("listening for the health checks of a service (who has the port: `ss -lnp`)", "port", port, "err", err)
		return nil
	}
	h := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.answer(w, port) }),
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
	}
	serving.Go(func() {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Warn("serving the health checks of a service", "port", port, "err", err)
		}
	})
	return h
}

// report is kube-proxy's answer.
type report struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

func (s *Server) answer(w http.ResponseWriter, port int32) {
	s.mu.Lock()
	svc := s.services[port]
	s.mu.Unlock()
	r := report{LocalEndpoints: svc.local, ServiceProxyHealthy: true}
	r.Service.Namespace, r.Service.Name = svc.name.Namespace, svc.name.Name
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(svc.local))
	if svc.local == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(r) // who asked has gone
}
