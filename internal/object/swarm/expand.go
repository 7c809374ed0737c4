package swarm

import (
	"fmt"
	"strings"
	"text/template"

	corev1 "k8s.io/api/core/v1"
)

// later stands, in an expanded text, for what is known only where the task runs: its
// node's name. nodeVariable is the variable that has it there.
const (
	later        = "\x00"
	nodeVariable = "TRIREME_NODE_NAME"
)

// context is what templates see (docker service create, "Create services using
// templates").
type context struct {
	Service struct {
		ID, Name string
		Labels   map[string]string
	}
	Node struct {
		ID, Hostname string
		Platform     struct{ OS, Architecture string }
	}
	Task struct{ ID, Name, Slot string }
}

// expand returns the text with its templates expanded.
func (b *builder) expand(field, text string) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	return b.execute(field, text, nil)
}

// execute expands a text that has templates, which may call the functions. What it
// says of a text that cannot be expanded does not repeat it: it may be secret.
func (b *builder) execute(field, text string, funcs template.FuncMap) (string, error) {
	parsed, err := template.New("").Option("missingkey=error").Funcs(funcs).Parse(text)
	if err != nil {
		return "", fmt.Errorf("%s: it is no template: %v", field, strings.TrimPrefix(err.Error(), "template: "))
	}
	var c context
	c.Service.ID, c.Service.Name, c.Service.Labels = ID(b.service.UID), b.service.Spec.Name, b.service.Spec.Labels
	c.Task.ID, c.Task.Name, c.Task.Slot = b.task.ID, b.task.Name, b.task.Slot
	n := b.task.Node
	c.Node.ID, c.Node.Hostname, c.Node.Platform.OS, c.Node.Platform.Architecture = n.ID, n.Hostname, n.OS, n.Architecture
	if n.Hostname == "" {
		c.Node.ID, c.Node.Platform.OS, c.Node.Platform.Architecture = later+later, later+later, later+later
		c.Node.Hostname = later
	}
	var out strings.Builder
	if err := parsed.Execute(&out, c); err != nil {
		return "", fmt.Errorf("%s: it cannot be expanded: %s; .Service.ID, .Name and .Labels, .Node.ID, .Hostname and .Platform, .Task.ID, .Name and .Slot are known", field, strings.TrimPrefix(err.Error(), "template: "))
	}
	variable := strings.HasPrefix(field, "ContainerSpec.Env[")
	if s := out.String(); strings.Contains(s, later+later) || strings.Contains(s, later) && !variable {
		return "", fmt.Errorf("%s: of a replicated service's node nothing is known but .Node.Hostname, in Env; global services know all of it", field)
	}
	return out.String(), nil
}

// late makes the variables that need the node's name ask for it.
func late(env []corev1.EnvVar) []corev1.EnvVar {
	need := false
	for i := range env {
		if strings.Contains(env[i].Value, later) {
			env[i].Value, need = strings.ReplaceAll(env[i].Value, later, "$("+nodeVariable+")"), true
		}
	}
	if !need {
		return env
	}
	name := corev1.EnvVar{Name: nodeVariable, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}}
	return append([]corev1.EnvVar{name}, env...)
}
