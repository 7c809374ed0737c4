package swarm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/object"
)

// StackLabel names the stack that something was deployed with (docker/cli, stack
// deploy).
const StackLabel = "com.docker.stack.namespace"

// nameMax leaves room for what is added to the name of a service: "-" and a slot or a
// node's part, and five random characters.
const nameMax = 46

// idDigits is how many digits of base 36 hold 128 bits; swarm's ids have as many.
const idDigits = 25

// ID returns an object's id as docker's clients know it: its UID in base 36.
func ID(uid types.UID) string {
	n, ok := new(big.Int).SetString(strings.ReplaceAll(string(uid), "-", ""), 16)
	if !ok {
		return ""
	}
	text := n.Text(36)
	return strings.Repeat("0", max(idDigits-len(text), 0)) + text
}

// Place returns where the service of a docker name is: in the namespace of its stack,
// under what follows the stack's name; without a stack in "default". Names that
// Kubernetes does not take are folded, with a digest so that no two become one.
func Place(name string, labels map[string]string) object.Key {
	stack := labels[StackLabel]
	if stack == "" {
		return object.Key{Namespace: metav1.NamespaceDefault, Name: fold(name)}
	}
	return object.Key{Namespace: Namespace(stack), Name: fold(strings.TrimPrefix(name, stack+"_"))}
}

// Namespace returns the namespace of a stack.
func Namespace(stack string) string { return fold(stack) }

func fold(name string) string {
	if len(name) <= nameMax && len(validation.IsDNS1035Label(name)) == 0 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, name)
	mapped = strings.Trim(mapped, "-")
	if mapped == "" || mapped[0] < 'a' {
		mapped = "s" + mapped
	}
	digest := hex.EncodeToString(sum[:3])
	return strings.TrimRight(mapped[:min(len(mapped), nameMax-len(digest)-1)], "-") + "-" + digest
}

// What is added to a service's name for the core Services of its published ports: those
// that its user chose, and those that the cluster chooses.
const (
	PublishedSuffix = "-published"
	PortsSuffix     = "-ports"
)

// PortName returns the name of a published port's place in a core Service.
func PortName(p swarm.PortConfig) string {
	port := p.PublishedPort
	if port == 0 {
		port = p.TargetPort
	}
	return fmt.Sprintf("%s-%d", strings.ToLower(string(Protocol(p.Protocol))), port)
}
