package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/admit"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// The files of the join tokens, below Root/pki.
const (
	WorkerTokenFile  = "token"
	ManagerTokenFile = "manager-token"
)

// Tokens is the Secret that all managers know the join tokens from: under the names of their files.
var Tokens = object.Key{Namespace: metav1.NamespaceSystem, Name: "trireme-join-tokens"}

// joinToken is what machines join with, as nodes or as managers, kept in a file and, for the
// other managers, in the Secret.
type joinToken struct {
	path, digest string
	manager      bool
	now          atomic.Pointer[wire.Token]

	changing sync.Mutex
	share    func(wire.Token) error // tells the other managers, in a term of leading
}

func openToken(path, digest string, manager bool) (*joinToken, error) {
	t, err := loadToken(path, wire.NewToken(digest, manager))
	if err != nil {
		return nil, err
	}
	if t.Manager != manager {
		return nil, kind.New(kind.Invalid, "%s holds a token of the other sort: remove it, and another is made", path)
	}
	j := &joinToken{path: path, digest: digest, manager: manager}
	j.now.Store(&t)
	return j, nil
}

// Token returns the token that is good now.
func (j *joinToken) Token() wire.Token { return *j.now.Load() }

// Show returns the token as machines are told it.
func (j *joinToken) Show() string { return j.Token().String() }

// Rotate makes another token; who has the old one cannot join with it any more.
func (j *joinToken) Rotate() error {
	j.changing.Lock()
	defer j.changing.Unlock()
	t := wire.NewToken(j.digest, j.manager)
	if j.share != nil {
		if err := j.share(t); err != nil {
			return err
		}
	}
	return j.set(t)
}

func (j *joinToken) set(t wire.Token) error {
	if err := writeToken(j.path, t); err != nil {
		return err
	}
	j.now.Store(&t)
	return nil
}

// joinTokens returns the tokens by the names of their files.
func (m *manager) joinTokens() map[string]*joinToken {
	return map[string]*joinToken{WorkerTokenFile: m.token, ManagerTokenFile: m.managerToken}
}

// adoptTokens takes over what the store says of the tokens, which other managers may have rotated,
// and has changes told there from now on.
func (m *manager) adoptTokens(ctx context.Context, s *store.Store) error {
	kept, _ := tables.Secrets.Get(s.Snapshot(), Tokens)
	for name, j := range m.joinTokens() {
		j.changing.Lock()
		j.share = func(t wire.Token) error {
			_, err := s.Update(ctx, func(tx *store.Tx) error {
				putTokens(tx, map[string][]byte{name: []byte(t.String())})
				return nil
			})
			return err
		}
		j.changing.Unlock()
		if kept == nil || len(kept.Data[name]) == 0 {
			continue
		}
		t, err := wire.ParseToken(string(kept.Data[name]))
		if err != nil || t.Manager != j.manager || t.Digest != j.digest {
			return kind.New(kind.Invalid, "secret %s holds no join token of this cluster in %s: remove it, and start again", Tokens, name)
		}
		if t != j.Token() {
			if err := j.set(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// ensureTokens tells the other managers of tokens that they do not know yet.
func (m *manager) ensureTokens(tx *store.Tx) {
	kept, _ := tables.Secrets.Get(tx, Tokens)
	missing := map[string][]byte{}
	for name, j := range m.joinTokens() {
		if kept == nil || len(kept.Data[name]) == 0 {
			missing[name] = []byte(j.Show())
		}
	}
	if len(missing) > 0 {
		putTokens(tx, missing)
	}
}

func putTokens(tx *store.Tx, data map[string][]byte) {
	kept, ok := tables.Secrets.Get(tx, Tokens)
	next := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: Tokens.Namespace, Name: Tokens.Name}}
	if ok {
		next = kept.DeepCopy()
	} else {
		admit.Default(next)
		admit.PrepareCreate(next)
	}
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	maps.Copy(next.Data, data)
	tables.Secrets.Put(tx, next)
}

// loadToken returns the cluster's join token, which at the first start is the fresh one.
func loadToken(path string, fresh wire.Token) (wire.Token, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		t, err := wire.ParseToken(string(b))
		if err != nil {
			return t, fmt.Errorf("reading %s: %w", path, err)
		}
		return t, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return wire.Token{}, fmt.Errorf("reading the join token: %w", err)
	}
	return fresh, writeToken(path, fresh)
}

// writeToken puts the token into the file, whole or not at all.
func writeToken(path string, t wire.Token) error {
	if err := os.WriteFile(path+".new", []byte(t.String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the join token: %w", err)
	}
	return os.Rename(path+".new", path)
}
