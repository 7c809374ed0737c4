package credential

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/wire"
)

// tokenKey says what a token is for. Another account of the same name is another
// account: its pods get new tokens.
type tokenKey struct {
	pod, account types.UID
	audience     string
	seconds      int64
}

type token struct {
	text string
	ends time.Time
	next time.Time // when to ask for another
}

// Token implements volume.Tokens; it says too when the token ends.
func (k *Keeper) Token(pod *corev1.Pod, src *corev1.ServiceAccountTokenProjection) (string, time.Time, error) {
	key := tokenKey{pod: pod.UID, audience: src.Audience, seconds: 3600}
	if src.ExpirationSeconds != nil {
		key.seconds = *src.ExpirationSeconds
	}
	key.account = k.cfg.Account(object.Key{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName})
	k.mu.Lock()
	have, ok := k.tokens[key]
	k.mu.Unlock()
	if ok && time.Now().Before(have.next) {
		return have.text, have.ends, nil
	}
	ctx, cancel := context.WithTimeout(k.cfg.Context(), askTimeout)
	defer cancel()
	now := time.Now()
	resp, err := k.cfg.Session().Token(ctx, &wire.TokenRequest{
		Namespace: pod.Namespace, Pod: pod.Name, Uid: string(pod.UID), Audience: key.audience, ExpirationSeconds: key.seconds,
	})
	if err != nil {
		return "", time.Time{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ends := time.Unix(resp.EndsUnix, 0)
	k.tokens[key] = token{resp.Token, ends, renewAt(now, ends)}
	return resp.Token, ends, nil
}

// renewAt returns when a token that was made now is renewed: at four fifths of its
// life, and at a day (Kubernetes, "Service account token volume projection").
func renewAt(now, ends time.Time) time.Time {
	return now.Add(min(ends.Sub(now)*4/5, 24*time.Hour))
}
