package acme

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/crypto/acme"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/certify/ask"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// accountType is the type of the secret of an account.
const accountType corev1.SecretType = "trireme.dev/acme-account"

// account returns a client with the cluster's account at the server, made at its first
// use. Who is at it at the same time as another has the same key, so the same account.
func (k *Keeper) account(ctx context.Context) (*acme.Client, error) {
	if c := k.client.Load(); c != nil {
		return c, nil
	}
	at := object.Key{Namespace: metav1.NamespaceSystem, Name: accountName(k.cfg.Settings.Directory)}
	encoded, err := k.accountKey(ctx, at)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("reading the account's key in secret %s: %w: delete the secret to have a new account", at, err)
	}
	c := &acme.Client{Key: key, HTTPClient: k.cfg.Server, DirectoryURL: k.cfg.Settings.Directory, RetryBackoff: retry, UserAgent: "trireme"}
	account := &acme.Account{Contact: k.cfg.Settings.contacts()}
	_, err = c.Register(ctx, account, acme.AcceptTOS)
	if errors.Is(err, acme.ErrAccountAlreadyExists) {
		if err = nil; account.Contact != nil {
			_, err = c.UpdateReg(ctx, account)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening an account: %w", err)
	}
	k.client.Store(c)
	return c, nil
}

// accountName names the secret of the account at a directory.
func accountName(directory string) string {
	return fmt.Sprintf("trireme-acme-%x", sha256.Sum256([]byte(directory)))[:len("trireme-acme-")+10]
}

// accountKey returns the account's private key as PEM, made where there is none.
func (k *Keeper) accountKey(ctx context.Context, at object.Key) (key []byte, err error) {
	if s, ok := tables.Secrets.Get(k.cfg.Store.Snapshot(), at); ok {
		return s.Data[corev1.TLSPrivateKeyKey], nil
	}
	_, made, err := ask.NewKey()
	if err != nil {
		return nil, err
	}
	err = k.update(ctx, func(tx *store.Tx) {
		if s, ok := tables.Secrets.Get(tx, at); ok {
			key = s.Data[corev1.TLSPrivateKeyKey]
			return
		}
		key = made
		tables.Secrets.Put(tx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name}, Type: accountType,
			Data: map[string][]byte{"directory": []byte(k.cfg.Settings.Directory), corev1.TLSPrivateKeyKey: made},
		})
	})
	return key, err
}

// triesMax is how often one request is made.
const triesMax = 4

// retry is how long to wait before a request that failed is made again. What the server
// wants to wait for is waited for as an order (order.fail).
func retry(n int, _ *http.Request, r *http.Response) time.Duration {
	if n >= triesMax || r.Header.Get("Retry-After") != "" {
		return -1
	}
	return time.Duration(n) * time.Second
}
