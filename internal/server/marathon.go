package server

import (
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/access"
	"trireme/internal/api/basic"
	"trireme/internal/api/kube"
	"trireme/internal/api/marathon"
	"trireme/internal/kind"
	"trireme/internal/schedule"
	"trireme/internal/store"
)

// defaultMarathonListen is where the Marathon API is unless the configuration says
// otherwise, and another process has the port.
const defaultMarathonListen = ":8080"

// openPort takes the port of an API that a cluster does without where another process has
// its usual port: nil, then, and where there is to be none.
func openPort(log *slog.Logger, what, flag, addr, usual string) (net.Listener, error) {
	switch addr {
	case noSocket:
		return nil, nil
	case "":
		l, err := listen(what, flag, usual)
		if kind.Is(err, kind.Exists) {
			log.Warn("an API is not served: another process has its port", "api", what, "address", usual, "flag", flag)
			return nil, nil
		}
		return l, err
	}
	return listen(what, flag, addr)
}

// basicAuth says who is let in where clients show a name and a token.
func (m *manager) basicAuth(door *kube.Server, realm string) *basic.Auth {
	caller := func(c *kube.Caller) basic.Caller {
		return basic.Caller{User: c.User, Key: c.Key(), Client: door.LoopbackAs(c)}
	}
	auth := &basic.Auth{Realm: realm, Identify: func(req *http.Request) (basic.Caller, error) {
		c, err := door.Caller(req)
		if err != nil {
			return basic.Caller{}, err
		}
		return caller(c), nil
	}}
	if said := m.cfg.Manager.MesosAnonymous; said != "" {
		name, groups, _ := strings.Cut(said, ",")
		u := access.User{Name: name, Groups: []string{access.Authenticated}}
		if groups != "" {
			u.Groups = append(strings.Split(groups, ","), u.Groups...)
		}
		nobody := caller(kube.CallerOf(u))
		auth.Anonymous = &nobody
	}
	return auth
}

// marathonDoor builds the Marathon door; nil: there is to be none.
func (m *manager) marathonDoor(s *store.Store, door *kube.Server) (*marathon.Server, error) {
	if m.marathon == nil {
		return nil, nil
	}
	_, port, err := net.SplitHostPort(m.marathon.Addr().String())
	if err != nil {
		return nil, err
	}
	return marathon.New(s, marathon.Config{
		Listener: m.doors.Listener(marathonDoor), Auth: m.basicAuth(door, "marathon"), Address: net.JoinHostPort(m.cfg.address(), port), Version: Version, Log: m.cfg.Log, Refusals: refusals,
	})
}

// refusals yields why nodes do not take a pod, in the scheduler's words.
func refusals(r store.Reader, pod *corev1.Pod) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		reasons, _ := schedule.Explain(r, pod)
		for _, one := range reasons {
			if !yield(one.Node, one.Reasons) {
				return
			}
		}
	}
}
