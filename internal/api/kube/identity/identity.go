package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"

	"trireme/internal/kind"
)

// Config says whose word is taken. The zero value: that of the cluster's own
// aggregator alone.
type Config struct {
	// File is an AuthenticationConfiguration of apiserver.config.k8s.io; with one,
	// OIDC must be empty.
	File    string  `json:"file"`
	OIDC    OIDC    `json:"oidc"`
	Webhook Webhook `json:"webhook"`
	Proxy   Proxy   `json:"requestHeader"`
}

// Webhook is a server that is asked about tokens that nobody else knows.
type Webhook struct {
	File    string `json:"file"`    // kubeconfig that says where it is
	Version string `json:"version"` // of TokenReview: v1, v1beta1 [v1beta1]
	// CacheSeconds is how long an answer is remembered [120].
	CacheSeconds int `json:"cacheSeconds"`
}

// Default returns the defaults of kube-apiserver, with the header names that its
// documentation uses.
func Default() Config {
	return Config{
		OIDC:    OIDC{UsernameClaim: "sub", SigningAlgs: []string{"RS256"}},
		Webhook: Webhook{Version: "v1beta1", CacheSeconds: 120},
		Proxy: Proxy{
			UsernameHeaders: []string{"X-Remote-User"}, UIDHeaders: []string{"X-Remote-Uid"},
			GroupHeaders: []string{"X-Remote-Group"}, ExtraPrefixes: []string{"X-Remote-Extra-"},
		},
	}
}

// Cluster is what the cluster itself has.
type Cluster struct {
	Issuer    string   // of service accounts' tokens: nobody else may issue under this name
	Audiences []string // under which the API takes tokens
	// ProxyCA, in PEM, signed the aggregator's own certificate, which names
	// ProxyName; empty where Config.Proxy gives the aggregator another.
	ProxyCA   []byte
	ProxyName string
	Log       *slog.Logger
}

// Sources are whose word is taken.
type Sources struct {
	// Tokens authenticate bearer tokens.
	Tokens []authenticator.Token
	// Front authenticates what a front proxy passes on.
	Front *Front
	jwt   *issuers
}

// Open checks the configuration and reads the files that it names. Errors are
// kind.Invalid and name the setting. Tokens of OpenID issuers are taken once Run
// runs.
func Open(cfg Config, own Cluster) (*Sources, error) {
	s := &Sources{}
	var err error
	if s.jwt, err = openIssuers(cfg, own); err != nil {
		return nil, err
	}
	s.Tokens = append(s.Tokens, s.jwt)
	if s.Front, err = openFront(cfg.Proxy, own); err != nil {
		return nil, err
	}
	if cfg.Webhook.File == "" {
		return s, nil
	}
	hook, err := openWebhook(cfg.Webhook, own.Audiences)
	if err != nil {
		return nil, err
	}
	s.Tokens = append(s.Tokens, hook)
	return s, nil
}

// Run keeps the sources up to date until ctx ends.
func (s *Sources) Run(ctx context.Context) error { return s.jwt.run(ctx) }

// Anonymous authenticates who shows nothing.
func (s *Sources) Anonymous() authenticator.Request {
	return authenticator.RequestFunc(s.jwt.anonymous)
}

// ProxyCAs returns the authorities of front proxies.
func (s *Sources) ProxyCAs() []*x509.Certificate { return s.Front.roots }

func openWebhook(cfg Webhook, audiences []string) (authenticator.Token, error) {
	if cfg.Version != "v1" && cfg.Version != "v1beta1" {
		return nil, invalid("webhook.version", "%q: the versions of TokenReview are v1 and v1beta1 (--authentication-token-webhook-version)", cfg.Version)
	}
	if cfg.CacheSeconds < 0 {
		return nil, invalid("webhook.cacheSeconds", "%d is negative (--authentication-token-webhook-cache-ttl)", cfg.CacheSeconds)
	}
	rest, err := webhookutil.LoadKubeconfig(cfg.File, nil)
	if err != nil {
		return nil, invalid("webhook.file", "--authentication-token-webhook-config-file: %w", err)
	}
	hook, err := webhook.New(rest, cfg.Version, audiences, *webhook.DefaultRetryBackoff())
	if err != nil {
		return nil, invalid("webhook.file", "--authentication-token-webhook-config-file %s: %w", cfg.File, err)
	}
	keep := time.Duration(cfg.CacheSeconds) * time.Second
	return tokencache.New(hook, false, keep, keep), nil
}

func invalid(field, format string, args ...any) error {
	return &kind.Error{Kind: kind.Invalid, Field: "manager.authentication." + field, Err: fmt.Errorf(format, args...)}
}
