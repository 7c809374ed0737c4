package certificate

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"trireme/internal/loop"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// How long requests stay.
const (
	decidedLife = time.Hour
	pendingLife = 24 * time.Hour
	podLife     = 15 * time.Minute // of what a pod asks for, answered or not
)

// Loop is the control loop of old requests.
type Loop struct {
	agenda loop.Agenda // when each is to go
	pods   loop.Agenda // when each of a pod is
}

// New returns the loop.
func New() *Loop { return &Loop{} }

var _ loop.Reconciler = (*Loop)(nil)

// The methods of loop.Reconciler.

func (*Loop) Name() string { return "orchestrate/certificate" }

func (*Loop) Reads() []store.TableID {
	return []store.TableID{tables.CertificateSigningRequests.ID(), tables.PodCertificateRequests.ID()}
}

func (l *Loop) Writes() []store.TableID { return l.Reads() }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.agenda, l.pods = loop.Agenda{}, loop.Agenda{}
	}
	for key := range tables.CertificateSigningRequests.Changed(tx) {
		l.agenda.Take(key)
		if r, ok := tables.CertificateSigningRequests.Get(tx, key); ok {
			l.agenda.At(key, ends(r))
		}
	}
	for _, key := range l.agenda.Due(tx.Now()) {
		l.agenda.Take(key)
		tables.CertificateSigningRequests.Delete(tx, key)
	}
	for key := range tables.PodCertificateRequests.Changed(tx) {
		l.pods.Take(key)
		if r, ok := tables.PodCertificateRequests.Get(tx, key); ok {
			l.pods.At(key, r.CreationTimestamp.Add(podLife))
		}
	}
	for _, key := range l.pods.Due(tx.Now()) {
		l.pods.Take(key)
		tables.PodCertificateRequests.Delete(tx, key)
	}
	next = l.agenda.Next()
	if at := l.pods.Next(); next.IsZero() || !at.IsZero() && at.Before(next) {
		next = at
	}
	return next, nil
}

// ends returns when the request is to go: an hour after it was last decided about,
// or a day after it was made.
func ends(r *certificatesv1.CertificateSigningRequest) time.Time {
	var decided time.Time
	for _, c := range r.Status.Conditions {
		if c.LastUpdateTime.After(decided) {
			decided = c.LastUpdateTime.Time
		}
	}
	if decided.IsZero() {
		return r.CreationTimestamp.Add(pendingLife)
	}
	return decided.Add(decidedLife)
}
