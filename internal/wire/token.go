package wire

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"

	"trireme/internal/kind"
)

// The prefixes tell what a token is for and in which version of the format:
// TRIREME-1-<CA digest, 64 hex>-<secret, 32 hex>.
const (
	tokenPrefix        = "TRIREME-1-"
	managerTokenPrefix = "TRIREME-MANAGER-1-"
)

// Token lets a machine join: Digest pins the cluster's authority, so that the
// machine knows whom it talks to; Secret tells the cluster that it may.
type Token struct {
	Digest, Secret string
	Manager        bool // as a manager, not as a node alone
}

// NewToken returns a token with a fresh secret for the authority with the digest.
func NewToken(digest string, manager bool) Token {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		panic(fmt.Sprintf("wire: no randomness: %v", err))
	}
	return Token{Digest: digest, Secret: hex.EncodeToString(b), Manager: manager}
}

// String returns the token as users pass it.
func (t Token) String() string {
	prefix := tokenPrefix
	if t.Manager {
		prefix = managerTokenPrefix
	}
	return prefix + t.Digest + "-" + t.Secret
}

// ParseToken is the inverse of String; kind.Invalid where s is no token.
func ParseToken(s string) (Token, error) {
	s = strings.TrimSpace(s)
	rest, manager := strings.CutPrefix(s, managerTokenPrefix)
	ok := manager
	if !manager {
		rest, ok = strings.CutPrefix(s, tokenPrefix)
	}
	digest, secret, cut := strings.Cut(rest, "-")
	if !ok || !cut || len(digest) != 64 || len(secret) != 32 {
		return Token{}, &kind.Error{Kind: kind.Invalid, Field: "token",
			Err: fmt.Errorf("want %s<64 hex digits>-<32 hex digits>: `trireme status` on a manager prints it", tokenPrefix)}
	}
	return Token{digest, secret, manager}, nil
}

// Matches compares the secret with one that was sent, in constant time.
func (t Token) Matches(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(t.Secret), []byte(secret)) == 1
}
