package route

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
)

// Challenge is a question by which an ACME server finds out who answers for a host (RFC
// 8555 §8.3), with its answer.
type Challenge struct {
	Host, Path, Answer string
}

const ofChallenges = "acme."

// ChallengesPart is the key of the part that answers for an Ingress' challenges.
func ChallengesPart(ingress object.Key) object.Key {
	return object.Key{Namespace: ingress.Namespace, Name: ofChallenges + ingress.Name}
}

// ChallengesOf is the inverse of ChallengesPart; false where the part is of another kind.
func ChallengesOf(part object.Key) (object.Key, bool) {
	name, ok := strings.CutPrefix(part.Name, ofChallenges)
	return object.Key{Namespace: part.Namespace, Name: name}, ok
}

// OfChallenges returns what answers for an Ingress' challenges. It is older than anything
// else, so that whoever has rules for the same paths does not come first.
func OfChallenges(ingress object.Key, all []Challenge) *Part {
	at := ChallengesPart(ingress)
	p := &Part{ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace, Name: at.Name}, Ports: []Port{{Port: HTTPPort}}}
	for _, c := range all {
		p.Rules = append(p.Rules, Rule{
			Port: HTTPPort, Host: strings.ToLower(c.Host), Path: Path{Exact, c.Path}, Method: "GET",
			Respond: &Respond{Status: 200, Body: c.Answer},
		})
	}
	return p
}
