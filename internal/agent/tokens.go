package agent

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/wire"
)

// tokens are the tokens of service accounts that pods of this node have.
type tokens struct {
	a *Agent

	mu   sync.Mutex
	have map[tokenKey]token
}

// tokenKey says what a token is for. Another account of the same name is another
// account: its pods get new tokens.
type tokenKey struct {
	pod, account types.UID
	audience     string
	seconds      int64
}

type token struct {
	text string
	next time.Time // when to ask for another
}

// How often pods are looked at for tokens that are to be renewed, and how long a
// manager may take.
const (
	tokensEvery  = 30 * time.Second
	tokenTimeout = 10 * time.Second
)

func newTokens(a *Agent) *tokens { return &tokens{a: a, have: map[tokenKey]token{}} }

// Token implements volume.Tokens.
func (t *tokens) Token(pod *corev1.Pod, src *corev1.ServiceAccountTokenProjection) (string, error) {
	key := tokenKey{pod: pod.UID, audience: src.Audience, seconds: 3600}
	if src.ExpirationSeconds != nil {
		key.seconds = *src.ExpirationSeconds
	}
	if sa, ok := get[*corev1.ServiceAccount](t.a.objects, "serviceaccounts", object.Key{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName}); ok {
		key.account = sa.UID
	}
	t.mu.Lock()
	have, ok := t.have[key]
	t.mu.Unlock()
	if ok && time.Now().Before(have.next) {
		return have.text, nil
	}
	ctx, cancel := context.WithTimeout(t.a.runContext(), tokenTimeout)
	defer cancel()
	now := time.Now()
	resp, err := t.a.session.Token(ctx, &wire.TokenRequest{
		Namespace: pod.Namespace, Pod: pod.Name, Uid: string(pod.UID), Audience: key.audience, ExpirationSeconds: key.seconds,
	})
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.have[key] = token{resp.Token, renewAt(now, time.Unix(resp.EndsUnix, 0))}
	return resp.Token, nil
}

// renewAt returns when a token that was made now is renewed: at four fifths of its
// life, and at a day (Kubernetes, "Service account token volume projection").
func renewAt(now, ends time.Time) time.Time {
	return now.Add(min(ends.Sub(now)*4/5, 24*time.Hour))
}

// run renews tokens and certificates, and forgets those of pods that are gone, until
// ctx ends.
func (t *tokens) run(ctx context.Context) error {
	tick := time.NewTicker(tokensEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		pods := t.due(time.Now())
		t.a.certs.due(time.Now(), pods)
		for uid := range pods {
			if w := t.a.worker(uid); w != nil {
				w.refresh(ctx)
			} else {
				t.forget(uid)
				t.a.certs.forget(uid)
			}
		}
	}
}

// due returns the pods with a token that is to be renewed, and those that are
// gone.
func (t *tokens) due(now time.Time) map[types.UID]bool {
	workers := t.a.allWorkers()
	t.mu.Lock()
	defer t.mu.Unlock()
	pods := map[types.UID]bool{}
	for key, have := range t.have {
		if !now.Before(have.next) || workers[key.pod] == nil {
			pods[key.pod] = true
		}
	}
	return pods
}

func (t *tokens) forget(pod types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.have {
		if key.pod == pod {
			delete(t.have, key)
		}
	}
}
