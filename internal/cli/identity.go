package cli

import (
	"time"

	"github.com/spf13/pflag"

	"trireme/internal/api/kube/identity"
)

// identityFlags are kube-apiserver's flags of authentication, under its names.
func identityFlags(f *pflag.FlagSet, c *identity.Config) {
	f.StringVar(&c.File, "authentication-config", "", "issuers of OpenID Connect tokens: a file of kind apiserver.config.k8s.io/v1 AuthenticationConfiguration; a change is taken over")
	o := &c.OIDC
	f.StringVar(&o.IssuerURL, "oidc-issuer-url", "", "https URL of an issuer of OpenID Connect tokens that are taken")
	f.StringVar(&o.ClientID, "oidc-client-id", "", "audience that these tokens must be for")
	f.StringVar(&o.UsernameClaim, "oidc-username-claim", o.UsernameClaim, "claim that is the user's name")
	f.StringVar(&o.UsernamePrefix, "oidc-username-prefix", "", `put before names; "-": nothing (default: the issuer's URL and "#", but nothing for the claim email)`)
	f.StringVar(&o.GroupsClaim, "oidc-groups-claim", "", "claim that holds the user's groups")
	f.StringVar(&o.GroupsPrefix, "oidc-groups-prefix", "", "put before groups")
	f.StringToStringVar(&o.RequiredClaims, "oidc-required-claim", nil, "claim=value that tokens must have; may be given more than once")
	f.StringVar(&o.CAFile, "oidc-ca-file", "", "authority of the issuer's certificate (default: those of this machine)")
	f.StringSliceVar(&o.SigningAlgs, "oidc-signing-algs", o.SigningAlgs, "algorithms of signatures that are taken")
	w := &c.Webhook
	f.StringVar(&w.File, "authentication-token-webhook-config-file", "", "kubeconfig of a server that reviews tokens that nobody else knows")
	f.StringVar(&w.Version, "authentication-token-webhook-version", w.Version, "version of TokenReview that it takes: v1 or v1beta1")
	f.Var(&seconds{&w.CacheSeconds}, "authentication-token-webhook-cache-ttl", "how long its answers are remembered")
	p := &c.Proxy
	f.StringVar(&p.CAFile, "requestheader-client-ca-file", "", "authority of front proxies, which name the caller in headers (default: the aggregator's own)")
	f.StringSliceVar(&p.AllowedNames, "requestheader-allowed-names", nil, "common names of their certificates (default: all)")
	f.StringSliceVar(&p.UsernameHeaders, "requestheader-username-headers", p.UsernameHeaders, "headers that name the user; the first that is there counts")
	f.StringSliceVar(&p.UIDHeaders, "requestheader-uid-headers", p.UIDHeaders, "headers that give the user's UID")
	f.StringSliceVar(&p.GroupHeaders, "requestheader-group-headers", p.GroupHeaders, "headers that name the user's groups")
	f.StringSliceVar(&p.ExtraPrefixes, "requestheader-extra-headers-prefix", p.ExtraPrefixes, "beginnings of headers that say more about the user")
	f.StringVar(&p.CertFile, "proxy-client-cert-file", "", "certificate that the aggregator shows to the servers behind it (default: one of its own authority)")
	f.StringVar(&p.KeyFile, "proxy-client-key-file", "", "its key")
}

// seconds is a flag that reads "2m" into whole seconds.
type seconds struct{ n *int }

// String implements pflag.Value.
func (s *seconds) String() string {
	if s.n == nil {
		return ""
	}
	return (time.Duration(*s.n) * time.Second).String()
}

// Type implements pflag.Value.
func (*seconds) Type() string { return "duration" }

// Set implements pflag.Value.
func (s *seconds) Set(v string) error {
	d, err := time.ParseDuration(v)
	*s.n = int(d / time.Second)
	return err
}
