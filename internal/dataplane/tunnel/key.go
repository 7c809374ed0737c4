package tunnel

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	keyFile  = "key"
	nextFile = "next"
)

// PublicKey is a node's public key as Nodes show it: base64.
type PublicKey string

// bytes returns the key, which is 32 bytes.
func (k PublicKey) bytes() ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(string(k))
	if err == nil {
		_, err = ecdh.X25519().NewPublicKey(b)
	}
	return b, err
}

// Valid reports whether it is a key.
func (k PublicKey) Valid() bool { _, err := k.bytes(); return err == nil }

// Keys are a node's own.
type Keys struct {
	dir           string
	current, next *ecdh.PrivateKey // next: nil for most of the time
	born          time.Time        // of current
}

// Kept reports whether a folder has keys: the node's overlay was encrypted.
func Kept(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, keyFile))
	return err == nil
}

// OpenKeys returns the keys of a folder, the first one made where there is none.
func OpenKeys(dir string) (*Keys, error) {
	k := &Keys{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of keys: %w", err)
	}
	var err error
	if k.current, err = read(filepath.Join(dir, keyFile)); errors.Is(err, fs.ErrNotExist) {
		k.current, err = k.write(keyFile)
	}
	if err != nil {
		return nil, err
	}
	if k.next, err = read(filepath.Join(dir, nextFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return k, k.date()
}

func (k *Keys) date() error {
	info, err := os.Stat(filepath.Join(k.dir, keyFile))
	if err == nil {
		k.born = info.ModTime()
	}
	return err
}

// Offered is the key that the node's Node should show.
func (k *Keys) Offered() PublicKey {
	if k.next != nil {
		return public(k.next)
	}
	return public(k.current)
}

// Renew makes the next key, if the one in use is older than that and none is made.
func (k *Keys) Renew(before time.Time) (err error) {
	if k.next != nil || !k.born.Before(before) {
		return nil
	}
	k.next, err = k.write(nextFile)
	return err
}

// Settle takes in which key the node's Node shows: the next one is in use from then on.
func (k *Keys) Settle(shown PublicKey) error {
	if k.next == nil || public(k.next) != shown {
		return nil
	}
	if err := os.Rename(filepath.Join(k.dir, nextFile), filepath.Join(k.dir, keyFile)); err != nil {
		return fmt.Errorf("going over to the next key: %w", err)
	}
	k.current, k.next = k.next, nil
	return k.date()
}

// Private returns the key in use.
func (k *Keys) Private() []byte { return k.current.Bytes() }

func public(k *ecdh.PrivateKey) PublicKey {
	return PublicKey(base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()))
}

func read(path string) (*ecdh.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("reading the key %s: %w: remove the file, and the node makes another", path, err)
	}
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("reading the key %s: %w: remove the file, and the node makes another", path, err)
	}
	return k, nil
}

// write makes a key, which appears in the folder at once.
func (k *Keys) write(name string) (*ecdh.PrivateKey, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	path := filepath.Join(k.dir, name)
	text := base64.StdEncoding.EncodeToString(key.Bytes()) + "\n"
	if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("keeping a key: %w", err)
	}
	return key, os.Rename(path+"~", path)
}
