package dispatch

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/wire"
)

// service is the gRPC face of a Dispatcher.
type service struct {
	wire.UnimplementedAgentsServer
	d *Dispatcher
}

// Join signs a first certificate for whoever holds the token.
func (v *service) Join(ctx context.Context, r *wire.JoinRequest) (*wire.JoinResponse, error) {
	if !v.d.cfg.Token().Matches(r.Secret) {
		return nil, toStatus(kind.New(kind.Unauthenticated, "the join token is not this cluster's: `trireme status` on a manager prints the right one"))
	}
	if errs := validation.IsDNS1123Subdomain(r.Node); len(errs) > 0 {
		return nil, toStatus(kind.New(kind.Invalid, "%q is no node name: %s", r.Node, strings.Join(errs, ", ")))
	}
	v.d.mu.Lock()
	live := v.d.sessions[r.Node] != nil
	v.d.mu.Unlock()
	if live {
		return nil, toStatus(kind.New(kind.Exists, "a node named %s is connected: give this machine another name, or stop that one", r.Node))
	}
	return v.sign(ctx, r.Node, r.Hosts, r.PublicKey)
}

// JoinManager makes who shows the managers' token a manager.
func (v *service) JoinManager(ctx context.Context, r *wire.ManagerRequest) (*wire.ManagerResponse, error) {
	if v.d.cfg.Managers == nil {
		return nil, toStatus(kind.New(kind.Unsupported, "this cluster takes no other managers"))
	}
	if errs := validation.IsDNS1123Subdomain(r.Name); len(errs) > 0 {
		return nil, toStatus(kind.New(kind.Invalid, "%q is no node name: %s", r.Name, strings.Join(errs, ", ")))
	}
	resp, err := v.d.cfg.Managers.Admit(ctx, r)
	return resp, toStatus(err)
}

// Renew signs a new certificate for the node that calls.
func (v *service) Renew(ctx context.Context, r *wire.RenewRequest) (*wire.JoinResponse, error) {
	node, err := caller(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return v.sign(ctx, node, r.Hosts, r.PublicKey)
}

func (v *service) sign(ctx context.Context, node string, hosts []string, public []byte) (*wire.JoinResponse, error) {
	key, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return nil, toStatus(kind.New(kind.Malformed, "reading the public key: %w", err))
	}
	if err := v.mayServeAs(ctx, hosts); err != nil {
		return nil, toStatus(err)
	}
	der, err := v.d.cfg.PKI.Sign(wire.Leaf{Name: wire.NodePrefix + node, Group: wire.NodesGroup, Hosts: hosts}, key)
	if err != nil {
		return nil, toStatus(err)
	}
	chain := v.d.cfg.Certificate.Certificate
	v.d.cfg.Log.Info("node certificate signed", "node", node, "hosts", hosts)
	return &wire.JoinResponse{Certificate: der, Ca: chain[len(chain)-1]}, nil
}

// mayServeAs refuses a node that wants to serve under a manager's names, such as
// kubernetes.default.svc, unless it is on the manager's machine.
func (v *service) mayServeAs(ctx context.Context, hosts []string) error {
	own := v.d.cfg.Certificate.Leaf
	if own == nil {
		return kind.New(kind.Internal, "dispatch: Config.Certificate has no Leaf")
	}
	theirs := slices.Clone(own.DNSNames)
	for _, ip := range own.IPAddresses {
		theirs = append(theirs, ip.String())
	}
	if v.d.cfg.Managers != nil {
		theirs = append(theirs, v.d.cfg.Managers.Hosts()...)
	}
	p, _ := peer.FromContext(ctx)
	if from, ok := p.Addr.(*net.TCPAddr); ok && (from.IP.IsLoopback() || slices.Contains(theirs, from.IP.String())) {
		return nil
	}
	for _, h := range hosts {
		ip := net.ParseIP(h)
		if h == "localhost" || (ip != nil && ip.IsLoopback()) {
			continue
		}
		if slices.Contains(theirs, h) || ip != nil && slices.Contains(theirs, ip.String()) {
			return kind.New(kind.Denied, "%s is a manager's name: a node may not serve under it", h)
		}
	}
	return nil
}

// Session is one agent's session from hello to end.
func (v *service) Session(stream grpc.BidiStreamingServer[wire.Report, wire.Assignments]) error {
	name, err := caller(stream.Context())
	if err != nil {
		return toStatus(err)
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	node := &corev1.Node{}
	if first.Hello == nil || node.Unmarshal(first.Hello.Node) != nil || node.Name != name {
		return toStatus(kind.New(kind.Malformed, "a session starts with a hello that names its node, %s", name))
	}
	s, err := v.d.newSession(stream, name, first.Hello.Tables)
	if err != nil {
		return toStatus(err)
	}
	s.addresses = object.PluginAddresses(node)
	// In before the node is ready, so that nobody takes it for away in between.
	v.d.enter(s)
	defer v.d.leave(s)
	away, err := v.d.hello(s.ctx, node)
	if err == nil {
		err = v.d.awaitOthers(s.ctx, away)
	}
	if err != nil {
		return toStatus(err)
	}
	v.d.cfg.Log.Debug("session open", "node", name)
	err = s.run()
	v.d.cfg.Log.Info("session closed", "node", name, "err", err)
	return toStatus(err)
}

// caller returns the node that the client's certificate names.
func caller(ctx context.Context) (string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", kind.New(kind.Unauthenticated, "no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", kind.New(kind.Unauthenticated, "a node shows its certificate: join first")
	}
	subject := info.State.VerifiedChains[0][0].Subject
	name, ok := strings.CutPrefix(subject.CommonName, wire.NodePrefix)
	if !ok || name == "" || !slices.Equal(subject.Organization, []string{wire.NodesGroup}) {
		return "", kind.New(kind.Denied, "%s is no node", subject.CommonName)
	}
	return name, nil
}

// grpcCodes says how each kind of error travels.
var grpcCodes = map[kind.Kind]codes.Code{
	kind.NotFound: codes.NotFound, kind.Exists: codes.AlreadyExists, kind.Conflict: codes.Aborted,
	kind.Invalid: codes.InvalidArgument, kind.Malformed: codes.InvalidArgument, kind.Denied: codes.PermissionDenied,
	kind.Unauthenticated: codes.Unauthenticated, kind.Unavailable: codes.Unavailable, kind.Gone: codes.OutOfRange,
	kind.Exhausted: codes.ResourceExhausted, kind.TooLarge: codes.ResourceExhausted, kind.Timeout: codes.DeadlineExceeded,
}

func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for k, code := range grpcCodes {
		if kind.Is(err, k) {
			return status.Error(code, fmt.Sprint(err))
		}
	}
	return status.Error(codes.Internal, fmt.Sprint(err))
}
