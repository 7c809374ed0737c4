package validate

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/podspec"
)

func template(t *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabels(t.Labels, at.Child("metadata", "labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, at.Child("metadata", "annotations"))...)
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(at.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	return append(errs, PodSpec(&t.Spec, at.Child("spec"))...)
}

// PodSpec checks the spec of a new pod or of a pod template at the given path.
func PodSpec(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	errs := podSpec(s, at)
	if len(s.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(at.Child("ephemeralContainers"), "cannot be set on create"))
	}
	return errs
}

// pod checks a pod: one that is stored may have ephemeral containers.
func pod(p *corev1.Pod) field.ErrorList {
	at := field.NewPath("spec")
	if p.ResourceVersion == "" {
		return PodSpec(&p.Spec, at)
	}
	return append(podSpec(&p.Spec, at), ephemeral(&p.Spec, at.Child("ephemeralContainers"))...)
}

func podSpec(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	errs := oneOf(s.RestartPolicy, at.Child("restartPolicy"), corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	errs = append(errs, oneOf(s.DNSPolicy, at.Child("dnsPolicy"), corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone)...)
	if g := s.TerminationGracePeriodSeconds; g != nil {
		errs = append(errs, nonNegative(*g, at.Child("terminationGracePeriodSeconds"))...)
	}
	if d := s.ActiveDeadlineSeconds; d != nil && *d < 1 {
		errs = append(errs, field.Invalid(at.Child("activeDeadlineSeconds"), *d, "must be greater than 0"))
	}
	if s.Hostname != "" {
		for _, msg := range validation.IsDNS1123Label(s.Hostname) {
			errs = append(errs, field.Invalid(at.Child("hostname"), s.Hostname, msg))
		}
	}
	if s.NodeName != "" {
		for _, msg := range apivalidation.NameIsDNSSubdomain(s.NodeName, false) {
			errs = append(errs, field.Invalid(at.Child("nodeName"), s.NodeName, msg))
		}
	}
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
	volumes, more := volumes(s.Volumes, at.Child("volumes"))
	errs = append(errs, more...)
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(at.Child("containers"), ""))
	}
	names := map[string]bool{}
	for i := range s.InitContainers {
		errs = append(errs, container(&s.InitContainers[i], names, volumes, at.Child("initContainers").Index(i))...)
		errs = append(errs, resizePolicy(&s.InitContainers[i], s.RestartPolicy, at.Child("initContainers").Index(i).Child("resizePolicy"))...)
	}
	hostPorts := map[string]bool{}
	for i := range s.Containers {
		errs = append(errs, container(&s.Containers[i], names, volumes, at.Child("containers").Index(i))...)
		errs = append(errs, resizePolicy(&s.Containers[i], s.RestartPolicy, at.Child("containers").Index(i).Child("resizePolicy"))...)
		errs = append(errs, hostPortsOnce(&s.Containers[i], hostPorts, at.Child("containers").Index(i).Child("ports"))...)
	}
	for i, t := range s.Tolerations {
		errs = append(errs, toleration(&t, at.Child("tolerations").Index(i))...)
	}
	errs = append(errs, podspec.Pod(s, at)...)
	errs = append(errs, spread(s.TopologySpreadConstraints, at.Child("topologySpreadConstraints"))...)
	return append(errs, affinity(s.Affinity, at.Child("affinity"))...)
}

func container(c *corev1.Container, names, volumes map[string]bool, at *field.Path) (errs field.ErrorList) {
	if c.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		for _, msg := range validation.IsDNS1123Label(c.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), c.Name, msg))
		}
	}
	if names[c.Name] {
		errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
	}
	names[c.Name] = true
	if c.Image == "" {
		errs = append(errs, field.Required(at.Child("image"), ""))
	} else if strings.TrimSpace(c.Image) != c.Image {
		errs = append(errs, field.Invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, oneOf(c.ImagePullPolicy, at.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	for i, p := range c.Ports {
		errs = append(errs, portNumber(p.ContainerPort, at.Child("ports").Index(i).Child("containerPort"))...)
		errs = append(errs, protocol(p.Protocol, at.Child("ports").Index(i).Child("protocol"))...)
		if p.HostPort != 0 {
			errs = append(errs, portNumber(p.HostPort, at.Child("ports").Index(i).Child("hostPort"))...)
		}
		if p.Name != "" {
			for _, msg := range validation.IsValidPortName(p.Name) {
				errs = append(errs, field.Invalid(at.Child("ports").Index(i).Child("name"), p.Name, msg))
			}
		}
	}
	for i, e := range c.Env {
		errs = append(errs, env(&e, at.Child("env").Index(i))...)
	}
	errs = append(errs, podspec.Container(c, at)...)
	errs = append(errs, mounts(c.VolumeMounts, volumes, at.Child("volumeMounts"))...)
	errs = append(errs, devices(c, volumes, at.Child("volumeDevices"))...)
	errs = append(errs, Resources(&c.Resources, at.Child("resources"))...)
	errs = append(errs, probe(c.LivenessProbe, at.Child("livenessProbe"))...)
	errs = append(errs, probe(c.ReadinessProbe, at.Child("readinessProbe"))...)
	errs = append(errs, probe(c.StartupProbe, at.Child("startupProbe"))...)
	if p := c.LivenessProbe; p != nil && p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(at.Child("livenessProbe", "successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	return errs
}

func env(e *corev1.EnvVar, at *field.Path) (errs field.ErrorList) {
	if e.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		for _, msg := range validation.IsRelaxedEnvVarName(e.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), e.Name, msg))
		}
	}
	v := e.ValueFrom
	if v == nil {
		return errs
	}
	at = at.Child("valueFrom")
	if e.Value != "" {
		errs = append(errs, field.Invalid(at, "", "may not be specified when `value` is not empty"))
	}
	set := 0
	for _, is := range []bool{v.FieldRef != nil, v.ResourceFieldRef != nil, v.ConfigMapKeyRef != nil, v.SecretKeyRef != nil, v.FileKeyRef != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		errs = append(errs, field.Invalid(at, "", "must specify exactly one source"))
	case v.ConfigMapKeyRef != nil:
		errs = append(errs, keyName(v.ConfigMapKeyRef.Key, at.Child("configMapKeyRef", "key"))...)
	case v.SecretKeyRef != nil:
		errs = append(errs, keyName(v.SecretKeyRef.Key, at.Child("secretKeyRef", "key"))...)
	}
	return errs
}

func keyName(k string, at *field.Path) (errs field.ErrorList) {
	for _, msg := range validation.IsConfigMapKey(k) {
		errs = append(errs, field.Invalid(at, k, msg))
	}
	return errs
}

func hostPortsOnce(c *corev1.Container, seen map[string]bool, at *field.Path) (errs field.ErrorList) {
	for i, p := range c.Ports {
		if p.HostPort == 0 {
			continue
		}
		key := p.HostIP + "/" + string(p.Protocol) + "/" + strconv.Itoa(int(p.HostPort))
		if seen[key] {
			errs = append(errs, field.Duplicate(at.Index(i).Child("hostPort"), p.HostPort))
		}
		seen[key] = true
	}
	return errs
}

// Resources checks what one container asks for.
func Resources(r *corev1.ResourceRequirements, at *field.Path) (errs field.ErrorList) {
	for _, half := range []struct {
		name string
		list corev1.ResourceList
	}{{"limits", r.Limits}, {"requests", r.Requests}} {
		for name, q := range half.list {
			p := at.Child(half.name).Key(string(name))
			for _, msg := range validation.IsQualifiedName(string(name)) {
				errs = append(errs, field.Invalid(p, name, msg))
			}
			if q.Sign() < 0 {
				errs = append(errs, field.Invalid(p, q.String(), "must be greater than or equal to 0"))
			}
			if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
				if limit, ok := r.Limits[name]; !ok || limit.Cmp(r.Requests[name]) != 0 {
					errs = append(errs, field.Invalid(p, q.String(), "must be equal to "+string(name)+" limit"))
				}
				if !asks(r, corev1.ResourceCPU) && !asks(r, corev1.ResourceMemory) {
					errs = append(errs, field.Forbidden(at, "HugePages require cpu or memory"))
				}
			}
			if half.name == "requests" {
				if limit, ok := r.Limits[name]; ok && q.Cmp(limit) > 0 {
					errs = append(errs, field.Invalid(at.Child("requests").Key(string(name)), q.String(), "must be less than or equal to "+string(name)+" limit of "+quantity(limit)))
				}
			}
		}
	}
	return errs
}

// resizePolicy checks how a container says that it takes to being resized.
func resizePolicy(c *corev1.Container, restart corev1.RestartPolicy, at *field.Path) (errs field.ErrorList) {
	seen := map[corev1.ResourceName]bool{}
	for i, p := range c.ResizePolicy {
		at := at.Index(i)
		if seen[p.ResourceName] {
			errs = append(errs, field.Duplicate(at, p.ResourceName))
		}
		seen[p.ResourceName] = true
		errs = append(errs, oneOf(p.ResourceName, at.Child("resourceName"), corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, oneOf(p.RestartPolicy, at.Child("restartPolicy"), corev1.NotRequired, corev1.RestartContainer)...)
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if p.RestartPolicy == corev1.RestartContainer && restart == corev1.RestartPolicyNever && !sidecar {
			errs = append(errs, field.Invalid(at, p.RestartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
		}
	}
	return errs
}

func asks(r *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	_, limit := r.Limits[name]
	_, request := r.Requests[name]
	return limit || request
}

func quantity(q resource.Quantity) string { return q.String() }

func probe(p *corev1.Probe, at *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	handlers := 0
	for _, set := range []bool{p.Exec != nil, p.HTTPGet != nil, p.TCPSocket != nil, p.GRPC != nil} {
		if set {
			handlers++
		}
	}
	if handlers != 1 {
		errs = append(errs, field.Required(at, "must specify exactly one handler type"))
	}
	for name, v := range map[string]int32{
		"initialDelaySeconds": p.InitialDelaySeconds, "timeoutSeconds": p.TimeoutSeconds, "periodSeconds": p.PeriodSeconds,
		"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold,
	} {
		errs = append(errs, nonNegative(int64(v), at.Child(name))...)
	}
	if p.Exec != nil && len(p.Exec.Command) == 0 {
		errs = append(errs, field.Required(at.Child("exec", "command"), ""))
	}
	if p.HTTPGet != nil {
		errs = append(errs, portRef(p.HTTPGet.Port, at.Child("httpGet", "port"))...)
	}
	if p.TCPSocket != nil {
		errs = append(errs, portRef(p.TCPSocket.Port, at.Child("tcpSocket", "port"))...)
	}
	return errs
}

// podUpdate allows what Kubernetes allows to change in a pod's spec: images,
// activeDeadlineSeconds, terminationGracePeriodSeconds from negative, added
// tolerations, removed scheduling gates (API reference, Pod).
func podUpdate(next, old *corev1.Pod) field.ErrorList {
	c := next.Spec.DeepCopy()
	if len(c.Containers) != len(old.Spec.Containers) || len(c.InitContainers) != len(old.Spec.InitContainers) {
		return field.ErrorList{field.Forbidden(field.NewPath("spec", "containers"), "pod updates may not add or remove containers")}
	}
	for i := range c.Containers {
		c.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range c.InitContainers {
		c.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	c.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	if podspec.KeepsTolerations(c.Tolerations, old.Spec.Tolerations) {
		c.Tolerations = old.Spec.Tolerations
	}
	if len(c.SchedulingGates) <= len(old.Spec.SchedulingGates) {
		c.SchedulingGates = old.Spec.SchedulingGates
	}
	if !equality.Semantic.DeepEqual(*c, old.Spec) {
		return field.ErrorList{field.Forbidden(field.NewPath("spec"), "pod updates may not change fields other than `spec.containers[*].image`,"+
			"`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative),"+
			"`spec.tolerations` (only additions to existing tolerations)")}
	}
	return nil
}
