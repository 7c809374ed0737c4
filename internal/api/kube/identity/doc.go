// Package identity takes the word of others about who asks: issuers of OpenID
// Connect tokens, a webhook that reviews tokens, and front proxies, which name the
// caller in headers. Settings are named as the flags of kube-apiserver are
// (Kubernetes, "Authenticating").
//
// It is not for what the cluster itself vouches for (certificates of its
// authority, service accounts): that is package auth's, which asks this one too.
//
// Concurrency: a configuration file is looked at every few seconds while Run runs,
// and a new one takes over at once and whole, when its issuers answer. What is
// under way ends under the old one.
//
// How to debug: `kubectl auth whoami --token …`; a file that is not taken over is
// logged with the reason, and why a token was refused with --verbose.
package identity
