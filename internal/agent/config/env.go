package config

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

// Env returns the container's environment: services, then envFrom, then env,
// the later one winning (Kubernetes, API reference of Container).
func (n *Node) Env(pod *corev1.Pod, c *corev1.Container, objects Objects) ([]runtime.KeyValue, error) {
	e := &environment{values: map[string]string{}, services: serviceEnv(pod, objects)}
	for i := range c.EnvFrom {
		if err := e.from(pod.Namespace, &c.EnvFrom[i], objects); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		v := &c.Env[i]
		if v.ValueFrom == nil {
			e.set(v.Name, Expand(v.Value, e.lookup))
			continue
		}
		value, ok, err := n.valueFrom(pod, c, v.ValueFrom, objects)
		if err != nil {
			return nil, err
		}
		if ok {
			e.set(v.Name, value)
		}
	}
	return e.list(), nil
}

// environment keeps the order in which names were first set.
type environment struct {
	values, services map[string]string
	order            []string
}

func (e *environment) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.order = append(e.order, name)
	}
	e.values[name] = value
}

func (e *environment) lookup(name string) (string, bool) {
	if v, ok := e.values[name]; ok {
		return v, true
	}
	v, ok := e.services[name]
	return v, ok
}

func (e *environment) list() []runtime.KeyValue {
	out := make([]runtime.KeyValue, 0, len(e.order)+len(e.services))
	for _, k := range slices.Sorted(maps.Keys(e.services)) {
		if _, ok := e.values[k]; !ok {
			out = append(out, runtime.KeyValue{Key: k, Value: e.services[k]})
		}
	}
	for _, k := range e.order {
		out = append(out, runtime.KeyValue{Key: k, Value: e.values[k]})
	}
	return out
}

func (e *environment) from(namespace string, src *corev1.EnvFromSource, objects Objects) error {
	var data map[string]string
	switch {
	case src.ConfigMapRef != nil:
		cm, ok := objects.ConfigMap(object.Key{Namespace: namespace, Name: src.ConfigMapRef.Name})
		if !ok && !isTrue(src.ConfigMapRef.Optional) {
			return failf("configmap %q not found", src.ConfigMapRef.Name)
		}
		if ok {
			data = cm.Data
		}
	case src.SecretRef != nil:
		s, ok := objects.Secret(object.Key{Namespace: namespace, Name: src.SecretRef.Name})
		if !ok && !isTrue(src.SecretRef.Optional) {
			return failf("secret %q not found", src.SecretRef.Name)
		}
		if ok {
			data = make(map[string]string, len(s.Data))
			for k, v := range s.Data {
				data[k] = string(v)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if name := src.Prefix + k; name != "" && !strings.ContainsAny(name, "=\x00") {
			e.set(name, data[k])
		}
	}
	return nil
}

func (n *Node) valueFrom(pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, objects Objects) (value string, ok bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = n.Field(pod, from.FieldRef.FieldPath)
	case from.ResourceFieldRef != nil:
		value, err = n.Resource(pod, c.Name, from.ResourceFieldRef)
	case from.ConfigMapKeyRef != nil:
		return configMapKey(pod.Namespace, from.ConfigMapKeyRef, objects)
	case from.SecretKeyRef != nil:
		return secretKey(pod.Namespace, from.SecretKeyRef, objects)
	default:
		err = fmt.Errorf("a value source of a kind this node does not know")
	}
	if err != nil {
		return "", false, &Error{Reason: ReasonConfig, Err: err}
	}
	return value, true, nil
}

func configMapKey(namespace string, ref *corev1.ConfigMapKeySelector, objects Objects) (string, bool, error) {
	cm, ok := objects.ConfigMap(object.Key{Namespace: namespace, Name: ref.Name})
	switch {
	case !ok && isTrue(ref.Optional):
		return "", false, nil
	case !ok:
		return "", false, failf("configmap %q not found", ref.Name)
	}
	value, ok := cm.Data[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, failf("couldn't find key %v in ConfigMap %v/%v", ref.Key, namespace, ref.Name)
	}
	return value, ok, nil
}

func secretKey(namespace string, ref *corev1.SecretKeySelector, objects Objects) (string, bool, error) {
	s, ok := objects.Secret(object.Key{Namespace: namespace, Name: ref.Name})
	switch {
	case !ok && isTrue(ref.Optional):
		return "", false, nil
	case !ok:
		return "", false, failf("secret %q not found", ref.Name)
	}
	value, ok := s.Data[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, failf("couldn't find key %v in Secret %v/%v", ref.Key, namespace, ref.Name)
	}
	return string(value), ok, nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// Expand replaces $(NAME) by what lookup knows and leaves the unknown as it is;
// $$ is a dollar sign (Kubernetes, API reference of Container.command).
func Expand(s string, lookup func(string) (string, bool)) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i+2:], ')')
			if end < 0 {
				b.WriteByte('$')
				continue
			}
			name := s[i+2 : i+2+end]
			if v, ok := lookup(name); ok {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			i += 2 + end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

// serviceEnv returns the variables that name services (Kubernetes, "Service:
// environment variables"): the API's always, the namespace's unless switched off.
func serviceEnv(pod *corev1.Pod, objects Objects) map[string]string {
	env := map[string]string{}
	for _, s := range objects.Services("default") {
		if s.Name == "kubernetes" {
			addService(env, s)
		}
	}
	if pod.Spec.EnableServiceLinks != nil && !*pod.Spec.EnableServiceLinks {
		return env
	}
	for _, s := range objects.Services(pod.Namespace) {
		addService(env, s)
	}
	return env
}

func addService(env map[string]string, s *corev1.Service) {
	if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	prefix := envName(s.Name)
	env[prefix+"_SERVICE_HOST"] = s.Spec.ClusterIP
	env[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		port, protocol := strconv.Itoa(int(p.Port)), "tcp"
		if p.Protocol != "" {
			protocol = strings.ToLower(string(p.Protocol))
		}
		if p.Name != "" {
			env[prefix+"_SERVICE_PORT_"+envName(p.Name)] = port
		}
		url := protocol + "://" + net.JoinHostPort(s.Spec.ClusterIP, port)
		if i == 0 {
			env[prefix+"_PORT"] = url
		}
		one := prefix + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		env[one], env[one+"_PROTO"], env[one+"_PORT"], env[one+"_ADDR"] = url, protocol, port, s.Spec.ClusterIP
	}
}

func envName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
