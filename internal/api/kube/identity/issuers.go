package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

const (
	// lookEvery is how often the configuration file is read.
	lookEvery = 5 * time.Second
	// readyWithin is how long a new configuration's issuers have to answer before it
	// is given up for now.
	readyWithin = time.Minute
	// tokenKept is how long a token that was good is believed without a check.
	tokenKept = 10 * time.Second
)

// issuers authenticates tokens of OpenID Connect issuers, and says who may come
// without any.
type issuers struct {
	file      string
	own       Cluster
	algs      []string
	log       *slog.Logger
	first     *apiserver.AuthenticationConfiguration
	firstData []byte // of file

	now atomic.Pointer[generation] // nil until run
}

// generation is one configuration at work.
type generation struct {
	token     authenticator.Token
	healths   []func() error
	anonymous authenticator.Request // nil: nobody comes without showing who he is
	end       context.CancelFunc
}

func openIssuers(cfg Config, own Cluster) (*issuers, error) {
	i := &issuers{file: cfg.File, own: own, log: own.Log, algs: oidc.AllValidSigningAlgorithms()}
	var err error
	if cfg.File == "" {
		i.algs = cfg.OIDC.SigningAlgs
		i.first, err = cfg.OIDC.configuration(i.disallowed())
		return i, err
	}
	if cfg.OIDC.given() {
		return nil, invalid("file", "--authentication-config and the --oidc-… flags exclude each other: put the issuer into the file")
	}
	if i.firstData, err = os.ReadFile(cfg.File); err != nil {
		return nil, invalid("file", "--authentication-config: %w", err)
	}
	if i.first, err = decode(i.firstData, i.disallowed()); err != nil {
		return nil, invalid("file", "--authentication-config %s: %w", cfg.File, err)
	}
	return i, nil
}

func (i *issuers) disallowed() []string {
	if i.own.Issuer == "" {
		return nil
	}
	return []string{i.own.Issuer}
}

// AuthenticateToken implements authenticator.Token.
func (i *issuers) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	g := i.now.Load()
	if g == nil || g.token == nil {
		return nil, false, nil
	}
	return g.token.AuthenticateToken(ctx, token)
}

// anonymous implements authenticator.Request.
func (i *issuers) anonymous(req *http.Request) (*authenticator.Response, bool, error) {
	open := opensTo(i.first)
	if g := i.now.Load(); g != nil {
		open = g.anonymous
	}
	if open == nil {
		return nil, false, nil
	}
	return open.AuthenticateRequest(req)
}

func opensTo(c *apiserver.AuthenticationConfiguration) authenticator.Request {
	switch {
	case c.Anonymous == nil:
		return anonymous.NewAuthenticator(nil)
	case !c.Anonymous.Enabled:
		return nil
	}
	return anonymous.NewAuthenticator(c.Anonymous.Conditions)
}

// run lets the configuration work until ctx ends, and takes over the file's newer
// ones.
func (i *issuers) run(ctx context.Context) error {
	g, err := i.start(ctx, i.first)
	if err != nil {
		return err
	}
	i.now.Store(g)
	if i.file == "" {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen := i.firstData
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		data, err := os.ReadFile(i.file)
		if err != nil || bytes.Equal(data, seen) { // one that is away may be just being replaced
			continue
		}
		seen = data
		if err := i.takeOver(ctx, data); err != nil {
			i.log.Error("the authentication configuration is not taken over; the old one stays", "file", i.file, "err", err)
			continue
		}
		i.log.Info("the authentication configuration was taken over", "file", i.file)
	}
}

// takeOver replaces the configuration at work by data, when its issuers answer.
func (i *issuers) takeOver(ctx context.Context, data []byte) error {
	c, err := decode(data, i.disallowed())
	if err != nil {
		return err
	}
	next, err := i.start(ctx, c)
	if err != nil {
		return err
	}
	if err := next.await(ctx); err != nil {
		next.end()
		return err
	}
	old := i.now.Swap(next)
	time.AfterFunc(readyWithin, old.end) // a request may still be at it
	return nil
}

// start makes the configuration's authenticators; they live until ctx ends or the
// generation is ended.
func (i *issuers) start(ctx context.Context, c *apiserver.AuthenticationConfiguration) (*generation, error) {
	ctx, cancel := context.WithCancel(ctx)
	g := &generation{end: cancel, anonymous: opensTo(c)}
	var tokens []authenticator.Token
	compiler := authenticationcel.NewDefaultCompiler()
	for _, j := range c.JWT {
		opts := oidc.Options{JWTAuthenticator: j, SupportedSigningAlgs: i.algs, DisallowedIssuers: i.disallowed(), Compiler: compiler}
		if ca := j.Issuer.CertificateAuthority; ca != "" {
			opts.CAContentProvider = staticCA(ca)
		}
		a, err := oidc.New(ctx, opts)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("the issuer %s: %w", j.Issuer.URL, err)
		}
		g.healths = append(g.healths, a.HealthCheck)
		tokens = append(tokens, authenticator.WrapAudienceAgnosticToken(slices.Clone(i.own.Audiences), a))
	}
	if len(tokens) > 0 {
		g.token = tokencache.New(tokenunion.New(tokens...), false, tokenKept, 0)
	}
	return g, nil
}

// await returns when all issuers have answered.
func (g *generation) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var errs []error
		for _, health := range g.healths {
			errs = append(errs, health())
		}
		err := errors.Join(errs...)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// staticCA is a bundle of certificates in PEM.
type staticCA string

// CurrentCABundleContent implements oidc.CAContentProvider.
func (s staticCA) CurrentCABundleContent() []byte { return []byte(s) }
