package identity

import (
	"fmt"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// OIDC is one issuer of OpenID Connect tokens, as kube-apiserver's flags describe
// it (Kubernetes, "OpenID Connect Tokens").
type OIDC struct {
	IssuerURL     string `json:"issuerURL"`
	ClientID      string `json:"clientID"`      // the audience that tokens must be for
	UsernameClaim string `json:"usernameClaim"` // [sub]
	// UsernamePrefix is put before names; "-": nothing is; empty: the issuer's URL
	// and "#", but for the claim email nothing.
	UsernamePrefix string            `json:"usernamePrefix"`
	GroupsClaim    string            `json:"groupsClaim"`
	GroupsPrefix   string            `json:"groupsPrefix"`
	RequiredClaims map[string]string `json:"requiredClaims"`
	CAFile         string            `json:"caFile"`      // of the issuer's certificate; empty: the machine's
	SigningAlgs    []string          `json:"signingAlgs"` // [RS256]
}

// given reports whether anything is said about an issuer.
func (o OIDC) given() bool {
	d := Default().OIDC
	return o.IssuerURL != "" || o.ClientID != "" || o.UsernameClaim != d.UsernameClaim || o.UsernamePrefix != "" || o.GroupsClaim != "" ||
		o.GroupsPrefix != "" || len(o.RequiredClaims) > 0 || o.CAFile != "" || !slices.Equal(o.SigningAlgs, d.SigningAlgs)
}

// configuration returns the issuer as a file would describe it.
func (o OIDC) configuration(disallowed []string) (*apiserver.AuthenticationConfiguration, error) {
	c := &apiserver.AuthenticationConfiguration{}
	if !o.given() {
		return c, nil
	}
	if o.IssuerURL == "" {
		return nil, invalid("oidc.issuerURL", "the other --oidc-… flags need --oidc-issuer-url")
	}
	if o.ClientID == "" {
		return nil, invalid("oidc.clientID", "--oidc-issuer-url needs --oidc-client-id: the audience that tokens must be for")
	}
	for _, alg := range o.SigningAlgs {
		if all := oidc.AllValidSigningAlgorithms(); !slices.Contains(all, alg) {
			return nil, invalid("oidc.signingAlgs", "--oidc-signing-algs: %q is not one of %v", alg, all)
		}
	}
	prefix := o.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && o.UsernameClaim != "email":
		prefix = o.IssuerURL + "#"
	}
	j := apiserver.JWTAuthenticator{Issuer: apiserver.Issuer{URL: o.IssuerURL, Audiences: []string{o.ClientID}}}
	j.ClaimMappings.Username = apiserver.PrefixedClaimOrExpression{Claim: o.UsernameClaim, Prefix: &prefix}
	if o.GroupsClaim != "" {
		j.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: o.GroupsClaim, Prefix: &o.GroupsPrefix}
	}
	for claim, value := range o.RequiredClaims {
		j.ClaimValidationRules = append(j.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	if o.CAFile != "" {
		ca, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, invalid("oidc.caFile", "--oidc-ca-file: %w", err)
		}
		j.Issuer.CertificateAuthority = string(ca)
	}
	c.JWT = []apiserver.JWTAuthenticator{j}
	if err := check(c, disallowed); err != nil {
		return nil, invalid("oidc", "the --oidc-… flags: %w", err)
	}
	return c, nil
}

// codecs read configuration files; unknown and doubled fields are errors.
var codecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	utilruntime.Must(apiserver.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict)
}()

// decode reads a configuration file, YAML or JSON, and checks it, its expressions
// too.
func decode(data []byte, disallowed []string) (*apiserver.AuthenticationConfiguration, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("the file is empty: it takes a kind AuthenticationConfiguration of apiserver.config.k8s.io/v1")
	}
	o, err := runtime.Decode(codecs.UniversalDecoder(), data)
	if err != nil {
		return nil, err
	}
	c, ok := o.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("the file has a %T: it takes a kind AuthenticationConfiguration of apiserver.config.k8s.io/v1", o)
	}
	return c, check(c, disallowed)
}

func check(c *apiserver.AuthenticationConfiguration, disallowed []string) error {
	return validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), c, disallowed).ToAggregate()
}
