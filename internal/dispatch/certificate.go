package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/defaults"
	"trireme/internal/object/validate"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// signerWait is how long a node's call waits for the signer.
const signerWait = 8 * time.Second

// Certificate makes a PodCertificateRequest for a pod of the calling node, unless
// there is one for that key, and returns what its signer said. All but the key is
// what the pod's spec and the cluster say (KEP-4317).
func (v *service) Certificate(ctx context.Context, r *wire.CertificateRequest) (*wire.CertificateResponse, error) {
	node, err := caller(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	resp, err := v.d.certificate(ctx, node, r)
	return resp, toStatus(err)
}

func (d *Dispatcher) certificate(ctx context.Context, node string, r *wire.CertificateRequest) (*wire.CertificateResponse, error) {
	hash := sha256.Sum256(r.StubRequest)
	key := object.Key{Namespace: r.Namespace, Name: "req-" + hex.EncodeToString(hash[:10])}
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		want, err := certificateFor(tx, node, key, r)
		if err != nil {
			return err
		}
		if have, ok := tables.PodCertificateRequests.Get(tx, key); ok {
			if have.Spec.PodUID != want.Spec.PodUID || have.Spec.SignerName != want.Spec.SignerName {
				return kind.New(kind.Denied, "PodCertificateRequest %s is another pod's or for another signer: make another key", key)
			}
			return nil
		}
		tables.PodCertificateRequests.Put(tx, want)
		return nil
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, signerWait)
	defer cancel()
	from := d.store.Snapshot()
	for {
		if resp := answerOf(from, key); resp.Chain != "" || resp.Refused != "" {
			return resp, nil
		}
		for _, err = range d.store.Events(ctx, from.Rev(), tables.PodCertificateRequests) {
			break
		}
		if err != nil {
			return &wire.CertificateResponse{Name: key.Name}, nil // no answer yet: the caller asks again
		}
		from = d.store.Snapshot()
	}
}

// certificateFor returns the request that the pod's volume stands for.
func certificateFor(tx *store.Tx, node string, key object.Key, r *wire.CertificateRequest) (*certificatesv1.PodCertificateRequest, error) {
	pod := object.Key{Namespace: r.Namespace, Name: r.Pod}
	p, ok := tables.Pods.Get(tx, pod)
	if !ok || p.UID != types.UID(r.Uid) || p.Spec.NodeName != node {
		return nil, kind.New(kind.Denied, "node %s has no pod %s with UID %s", node, pod, r.Uid)
	}
	src := certificateSource(p, r.Volume, int(r.Source))
	if src == nil {
		return nil, kind.New(kind.Denied, "source %d of volume %q of pod %s asks for no certificate", r.Source, r.Volume, pod)
	}
	account, ok := tables.ServiceAccounts.Get(tx, object.Key{Namespace: p.Namespace, Name: p.Spec.ServiceAccountName})
	if !ok {
		return nil, kind.New(kind.NotFound, "serviceaccount %q not found", p.Spec.ServiceAccountName)
	}
	n, ok := tables.Nodes.Get(tx, object.Key{Name: node})
	if !ok {
		return nil, kind.New(kind.NotFound, "node %q not found", node)
	}
	out := &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: src.SignerName, PodName: p.Name, PodUID: p.UID, ServiceAccountName: account.Name, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(node), NodeUID: n.UID, MaxExpirationSeconds: src.MaxExpirationSeconds, StubPKCS10Request: r.StubRequest,
			UnverifiedUserAnnotations: src.UserAnnotations,
		},
	}
	defaults.Object(out)
	if errs := validate.Object(out); len(errs) > 0 {
		return nil, kind.New(kind.Invalid, "PodCertificateRequest: %v", errs.ToAggregate())
	}
	return out, nil
}

// certificateSource returns the source that asks for a certificate; nil: there is
// no such one.
func certificateSource(p *corev1.Pod, volume string, source int) *corev1.PodCertificateProjection {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Name == volume && v.Projected != nil && source >= 0 && source < len(v.Projected.Sources) {
			return v.Projected.Sources[source].PodCertificate
		}
	}
	return nil
}

// answerOf returns what the signer said of the request: nothing where it did not, or
// the request is gone.
func answerOf(r store.Reader, key object.Key) *wire.CertificateResponse {
	out := &wire.CertificateResponse{Name: key.Name}
	o, ok := tables.PodCertificateRequests.Get(r, key)
	if !ok {
		return out
	}
	for _, c := range o.Status.Conditions {
		switch c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed:
			out.Refused = c.Type + ": " + c.Reason + ": " + c.Message
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			out.Chain = o.Status.CertificateChain
			if t := o.Status.BeginRefreshAt; t != nil {
				out.BeginRefreshUnix = t.Unix()
			}
			if t := o.Status.NotAfter; t != nil {
				out.NotAfterUnix = t.Unix()
			}
		}
	}
	return out
}
