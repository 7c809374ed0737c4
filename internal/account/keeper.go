package account

import (
	"context"
	"fmt"
	"maps"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Keeper fills the secrets of type kubernetes.io/service-account-token, and
// deletes those whose account is gone (Kubernetes, "Managing Service Accounts",
// Token controller). It is no control loop because it signs.
type Keeper struct {
	issuer *Issuer
	store  *store.Store
	ca     []byte
}

// NewKeeper returns a keeper; caPEM is the authority that the secrets tell to
// trust.
func NewKeeper(i *Issuer, s *store.Store, caPEM []byte) *Keeper { return &Keeper{i, s, caPEM} }

// Run keeps the secrets until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	snap := k.store.Snapshot() // of both: an account that ends between two would be missed
	g.Go(func() error {
		return k.store.FollowFrom(ctx, snap, tables.Secrets.Any(), func(key object.Key) error { return k.keep(ctx, key) })
	})
	g.Go(func() error {
		return k.store.FollowFrom(ctx, snap, tables.ServiceAccounts.Any(), func(key object.Key) error { return k.keepAll(ctx, key) })
	})
	return g.Wait()
}

// keepAll keeps the secrets of an account.
func (k *Keeper) keepAll(ctx context.Context, account object.Key) error {
	for s := range tables.Secrets.In(k.store.Snapshot(), account.Namespace) {
		if ofAccount(s) == account.Name {
			if err := k.keep(ctx, object.KeyOf(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// ofAccount returns the account that the secret is to hold a token of; empty:
// none.
func ofAccount(s *corev1.Secret) string {
	if s.Type != corev1.SecretTypeServiceAccountToken || s.DeletionTimestamp != nil {
		return ""
	}
	return s.Annotations[corev1.ServiceAccountNameKey]
}

// keep completes one secret, or deletes it where its account is gone.
func (k *Keeper) keep(ctx context.Context, key object.Key) error {
	snap := k.store.Snapshot()
	s, ok := tables.Secrets.Get(snap, key)
	if !ok || ofAccount(s) == "" {
		return nil
	}
	next, err := k.complete(snap, s)
	if err != nil || next == s {
		return err
	}
	_, err = k.store.Update(ctx, func(tx *store.Tx) error {
		if now, ok := tables.Secrets.Get(tx, key); !ok || now.ResourceVersion != s.ResourceVersion {
			return nil // its next change comes here too
		}
		if next == nil {
			tables.Secrets.Delete(tx, key)
		} else {
			tables.Secrets.Put(tx, next)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keeping the token of secret %s: %w", key, err)
	}
	return nil
}

// complete returns what the secret should be: itself where it is complete, nil
// where it should not be.
func (k *Keeper) complete(r store.Reader, s *corev1.Secret) (*corev1.Secret, error) {
	sa, ok := tables.ServiceAccounts.Get(r, object.Key{Namespace: s.Namespace, Name: ofAccount(s)})
	uid := s.Annotations[corev1.ServiceAccountUIDKey]
	if !ok || (uid != "" && uid != string(sa.UID)) {
		return nil, nil
	}
	want := map[string][]byte{corev1.ServiceAccountRootCAKey: k.ca, corev1.ServiceAccountNamespaceKey: []byte(s.Namespace)}
	token := s.Data[corev1.ServiceAccountTokenKey]
	if len(token) == 0 {
		signed, err := k.issuer.legacy(s.Namespace, s.Name, Ref{sa.Name, sa.UID})
		if err != nil {
			return nil, err
		}
		token = []byte(signed)
	}
	want[corev1.ServiceAccountTokenKey] = token
	same := uid != ""
	for key, v := range want {
		same = same && string(s.Data[key]) == string(v)
	}
	if same {
		return s, nil
	}
	next := s.DeepCopy()
	next.Annotations[corev1.ServiceAccountUIDKey] = string(sa.UID)
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	maps.Copy(next.Data, want)
	return next, nil
}
