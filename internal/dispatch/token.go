package dispatch

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/account"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// Token signs a service account token for a pod of the calling node. What the
// pod's spec asks for is all that a node can get (its audiences, its times, its
// account), and audiences that it was granted, for an hour.
func (v *service) Token(ctx context.Context, r *wire.TokenRequest) (*wire.TokenResponse, error) {
	node, err := caller(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	resp, err := v.d.token(node, r)
	return resp, toStatus(err)
}

func (d *Dispatcher) token(node string, r *wire.TokenRequest) (*wire.TokenResponse, error) {
	if d.cfg.Accounts == nil {
		return nil, kind.New(kind.Unavailable, "this manager signs no tokens")
	}
	snap := d.store.Snapshot()
	key := object.Key{Namespace: r.Namespace, Name: r.Pod}
	p, ok := tables.Pods.Get(snap, key)
	if !ok || p.UID != types.UID(r.Uid) || p.Spec.NodeName != node {
		return nil, kind.New(kind.Denied, "node %s has no pod %s with UID %s", node, key, r.Uid)
	}
	if !asksFor(p, r.Audience, r.ExpirationSeconds) && !driverAsks(snap, p, r.Audience, r.ExpirationSeconds) && !d.granted(node, p, r) {
		return nil, kind.New(kind.Denied, "pod %s asks for no token for audience %q that lasts %d seconds, and the node is not granted %s on the resource %q",
			key, r.Audience, r.ExpirationSeconds, AudienceVerb, r.Audience)
	}
	sa, ok := tables.ServiceAccounts.Get(snap, object.Key{Namespace: p.Namespace, Name: p.Spec.ServiceAccountName})
	if !ok {
		return nil, kind.New(kind.NotFound, "serviceaccount %q not found", p.Spec.ServiceAccountName)
	}
	bound := account.Bound{Namespace: p.Namespace, Account: account.Ref{Name: sa.Name, UID: sa.UID}, Pod: &account.Ref{Name: p.Name, UID: p.UID}, Node: &account.Ref{Name: node}}
	if n, ok := tables.Nodes.Get(snap, object.Key{Name: node}); ok {
		bound.Node.UID = n.UID
	}
	var audiences []string
	if r.Audience != "" {
		audiences = []string{r.Audience}
	}
	token, ends, err := d.cfg.Accounts.Issue(bound, audiences, time.Duration(r.ExpirationSeconds)*time.Second)
	if err != nil {
		return nil, err
	}
	return &wire.TokenResponse{Token: token, EndsUnix: ends.Unix()}, nil
}

// AudienceVerb is what a node must be granted on a resource named like an audience to
// have tokens for it (Kubernetes, "NodeRestriction", audiences of image credential
// providers).
const AudienceVerb = "request-serviceaccounts-token-audience"

// grantedSeconds is how long such tokens last.
const grantedSeconds = 3600

func (d *Dispatcher) granted(node string, p *corev1.Pod, r *wire.TokenRequest) bool {
	return d.cfg.Audience != nil && r.Audience != "" && r.ExpirationSeconds == grantedSeconds &&
		d.cfg.Audience(node, object.Key{Namespace: p.Namespace, Name: p.Spec.ServiceAccountName}, r.Audience)
}

// asksFor reports whether a projected volume of the pod asks for such a token.
func asksFor(p *corev1.Pod, audience string, seconds int64) bool {
	for _, v := range p.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if t := s.ServiceAccountToken; t != nil && t.Audience == audience && t.ExpirationSeconds != nil && *t.ExpirationSeconds == seconds {
				return true
			}
		}
	}
	return false
}
