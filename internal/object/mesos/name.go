package mesos

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Annotations and labels.
const (
	FrameworkLabel      = "mesos.trireme.dev/framework"    // on pods of tasks: FrameworkName of its id
	RevocableLabel      = "mesos.trireme.dev/revocable"    // on pods of tasks: what they run on is what others do not use
	FrameworkAnnotation = "mesos.trireme.dev/framework-id" // on pods of tasks: the id word for word
	RoleAnnotation      = "mesos.trireme.dev/role"         // on pods of tasks, and on namespaces whose name is folded
	AgentAnnotation     = "mesos.trireme.dev/agent"        // on pods of tasks: the id of their agent
	TaskAnnotation      = "mesos.trireme.dev/task"         // TaskInfo in Mesos' JSON; of a group TaskGroupInfo's tasks, a JSON list
	ExecutorAnnotation  = "mesos.trireme.dev/executor"     // ExecutorInfo in Mesos' JSON
)

// Counters on the Namespace kube-system: how many ids of each kind were given.
const (
	FrameworksAnnotation = "mesos.trireme.dev/frameworks"
	AgentsAnnotation     = "mesos.trireme.dev/agents"
)

// RevocableClass is the PriorityClass of pods that have revocable resources.
const RevocableClass = "mesos-revocable"

// Everyone is the role of who names none.
const Everyone = "*"

// MasterID returns what the ids of a cluster begin with: the UID of the Namespace
// kube-system, which stands for the cluster.
func MasterID(system *corev1.Namespace) string { return string(system.UID) }

// FrameworkID returns the id of the nth framework.
func FrameworkID(master string, n int) string { return fmt.Sprintf("%s-%04d", master, n) }

// AgentID returns the id of the nth agent.
func AgentID(master string, n int) string { return master + "-S" + strconv.Itoa(n) }

// OfferID returns the id of the nth offer.
func OfferID(master string, n int64) string { return master + "-O" + strconv.FormatInt(n, 10) }

// Next takes the next number of a kind of ids from the counters on system, which the caller
// puts; the first is 0.
func Next(system *corev1.Namespace, counter string) int {
	n, _ := strconv.Atoi(system.Annotations[counter]) // nobody has counted yet
	metav1.SetMetaDataAnnotation(&system.ObjectMeta, counter, strconv.Itoa(n+1))
	return n
}

// FrameworkName returns the name of the Framework of an id.
func FrameworkName(id string) string { return fold(id, validation.IsDNS1123Subdomain) }

// Namespace returns the namespace of a role: "default" of Everyone, of others their own
// name, folded with a digest where no namespace can have it.
func Namespace(role string) string {
	switch role {
	case Everyone, "":
		return metav1.NamespaceDefault
	case metav1.NamespaceDefault:
		return digested(role, role) // it is not Everyone's
	}
	return fold(role, validation.IsDNS1123Label)
}

// Role returns the role of a namespace that no Tenant gives another place.
func Role(ns *corev1.Namespace) string {
	if ns.Name == metav1.NamespaceDefault {
		return Everyone
	}
	if role := ns.Annotations[RoleAnnotation]; role != "" && Namespace(role) == ns.Name {
		return role
	}
	return ns.Name
}

// fold returns text where it is a name, else one made of its letters and its digest.
func fold(text string, faults func(string) []string) string {
	if len(text) <= validation.DNS1123LabelMaxLength && len(faults(text)) == 0 {
		return text
	}
	return digested(letters(text), text)
}

// letters returns what of text may be in a name.
func letters(text string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, text), "-")
}

func digested(name, text string) string {
	const digits = 10
	sum := sha256.Sum256([]byte(text))
	if name = strings.Trim(name, "-"); len(name) > validation.DNS1123LabelMaxLength-digits-1 {
		name = strings.Trim(name[:validation.DNS1123LabelMaxLength-digits-1], "-")
	}
	return strings.TrimPrefix(name+"-"+hex.EncodeToString(sum[:digits/2]), "-")
}
