package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"trireme/internal/wire"
)

// joinToken is what machines join with, kept in a file.
type joinToken struct {
	path, digest string
	now          atomic.Pointer[wire.Token]
	changing     sync.Mutex
}

func openToken(path, digest string) (*joinToken, error) {
	t, err := loadToken(path, digest)
	if err != nil {
		return nil, err
	}
	j := &joinToken{path: path, digest: digest}
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
	t := wire.NewToken(j.digest)
	if err := writeToken(j.path, t); err != nil {
		return err
	}
	j.now.Store(&t)
	return nil
}

// loadToken returns the cluster's join token, making it at the first start.
func loadToken(path, digest string) (wire.Token, error) {
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
	t := wire.NewToken(digest)
	return t, writeToken(path, t)
}

// writeToken puts the token into the file, whole or not at all.
func writeToken(path string, t wire.Token) error {
	if err := os.WriteFile(path+".new", []byte(t.String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the join token: %w", err)
	}
	return os.Rename(path+".new", path)
}
