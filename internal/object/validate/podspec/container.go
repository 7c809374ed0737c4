package podspec

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The API reference's limits of restart rules.
const (
	rulesMax     = 20
	exitCodesMax = 255
)

// Container checks one container, ephemeral ones too.
func Container(c *corev1.Container, at *field.Path) (errs field.ErrorList) {
	names := map[string]bool{}
	for i, p := range c.Ports {
		if p.Name != "" && names[p.Name] {
			errs = append(errs, field.Duplicate(at.Child("ports").Index(i).Child("name"), p.Name))
		}
		names[p.Name] = true
	}
	for i := range c.EnvFrom {
		errs = append(errs, envFrom(&c.EnvFrom[i], at.Child("envFrom").Index(i))...)
	}
	if l := c.Lifecycle; l != nil {
		errs = append(errs, handler(l.PostStart, at.Child("lifecycle", "postStart"))...)
		errs = append(errs, handler(l.PreStop, at.Child("lifecycle", "preStop"))...)
	}
	switch p := c.TerminationMessagePolicy; p {
	case "", corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError:
	default:
		errs = append(errs, field.NotSupported(at.Child("terminationMessagePolicy"), p,
			[]corev1.TerminationMessagePolicy{corev1.TerminationMessageFallbackToLogsOnError, corev1.TerminationMessageReadFile}))
	}
	return append(errs, security(c.SecurityContext, at.Child("securityContext"))...)
}

func envFrom(e *corev1.EnvFromSource, at *field.Path) (errs field.ErrorList) {
	if e.Prefix != "" {
		for _, msg := range validation.IsRelaxedEnvVarName(e.Prefix) {
			errs = append(errs, field.Invalid(at.Child("prefix"), e.Prefix, msg))
		}
	}
	switch {
	case e.ConfigMapRef != nil && e.SecretRef != nil:
		errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
	case e.ConfigMapRef != nil && e.ConfigMapRef.Name == "":
		errs = append(errs, field.Required(at.Child("configMapRef", "name"), ""))
	case e.SecretRef != nil && e.SecretRef.Name == "":
		errs = append(errs, field.Required(at.Child("secretRef", "name"), ""))
	case e.ConfigMapRef == nil && e.SecretRef == nil:
		errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
	}
	return errs
}

// handler checks what is called when a container starts or ends.
func handler(h *corev1.LifecycleHandler, at *field.Path) (errs field.ErrorList) {
	if h == nil {
		return nil
	}
	n := 0
	if h.Exec != nil {
		n++
		if len(h.Exec.Command) == 0 {
			errs = append(errs, field.Required(at.Child("exec", "command"), ""))
		}
	}
	if g := h.HTTPGet; g != nil {
		n++
		errs = append(errs, port(g.Port, at.Child("httpGet", "port"))...)
		if g.Path == "" {
			errs = append(errs, field.Required(at.Child("httpGet", "path"), ""))
		}
		if s := g.Scheme; s != corev1.URISchemeHTTP && s != corev1.URISchemeHTTPS {
			errs = append(errs, field.NotSupported(at.Child("httpGet", "scheme"), s, []corev1.URIScheme{corev1.URISchemeHTTP, corev1.URISchemeHTTPS}))
		}
	}
	if h.TCPSocket != nil {
		n++
		errs = append(errs, port(h.TCPSocket.Port, at.Child("tcpSocket", "port"))...)
	}
	if h.Sleep != nil {
		n++
		if h.Sleep.Seconds < 0 {
			errs = append(errs, apivalidation.ValidateNonnegativeField(h.Sleep.Seconds, at.Child("sleep", "seconds"))...)
		}
	}
	switch {
	case n == 0:
		errs = append(errs, field.Required(at, "must specify a handler type"))
	case n > 1:
		errs = append(errs, field.Forbidden(at, "may not specify more than 1 handler type"))
	}
	return errs
}

func port(p intstr.IntOrString, at *field.Path) (errs field.ErrorList) {
	msgs := validation.IsValidPortNum(p.IntValue())
	if p.Type == intstr.String {
		msgs = validation.IsValidPortName(p.StrVal)
	}
	for _, msg := range msgs {
		errs = append(errs, field.Invalid(at, p.String(), msg))
	}
	return errs
}

// security checks as whom a container runs and what it may.
func security(s *corev1.SecurityContext, at *field.Path) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	errs = append(errs, id(s.RunAsUser, at.Child("runAsUser"))...)
	errs = append(errs, id(s.RunAsGroup, at.Child("runAsGroup"))...)
	errs = append(errs, seccomp(s.SeccompProfile, at.Child("seccompProfile"))...)
	if m := s.ProcMount; m != nil && *m != corev1.DefaultProcMount && *m != corev1.UnmaskedProcMount {
		errs = append(errs, field.NotSupported(at.Child("procMount"), *m, []corev1.ProcMountType{corev1.DefaultProcMount, corev1.UnmaskedProcMount}))
	}
	if a := s.AllowPrivilegeEscalation; a != nil && !*a {
		if s.Privileged != nil && *s.Privileged {
			errs = append(errs, field.Invalid(at, "", "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if s.Capabilities != nil && slices.Contains(s.Capabilities.Add, "CAP_SYS_ADMIN") {
			errs = append(errs, field.Invalid(at, "", "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
		}
	}
	return errs
}

func id(n *int64, at *field.Path) (errs field.ErrorList) {
	if n == nil {
		return nil
	}
	for _, msg := range validation.IsValidUserID(*n) {
		errs = append(errs, field.Invalid(at, *n, msg))
	}
	return errs
}

func seccomp(p *corev1.SeccompProfile, at *field.Path) field.ErrorList {
	switch {
	case p == nil:
	case p.Type == corev1.SeccompProfileTypeLocalhost && (p.LocalhostProfile == nil || *p.LocalhostProfile == ""):
		return field.ErrorList{field.Required(at.Child("localhostProfile"), "must be set when seccomp type is Localhost")}
	case p.Type == corev1.SeccompProfileTypeLocalhost:
	case p.Type == "":
		return field.ErrorList{field.Required(at.Child("type"), "type is required when seccompProfile is set")}
	case p.Type != corev1.SeccompProfileTypeRuntimeDefault && p.Type != corev1.SeccompProfileTypeUnconfined:
		return field.ErrorList{field.NotSupported(at.Child("type"), p.Type,
			[]corev1.SeccompProfileType{corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined})}
	case p.LocalhostProfile != nil:
		return field.ErrorList{field.Invalid(at.Child("localhostProfile"), *p.LocalhostProfile, "can only be set when seccomp type is Localhost")}
	}
	return nil
}

// restarts checks when a container starts again, where it says so itself.
func restarts(c *corev1.Container, at *field.Path) (errs field.ErrorList) {
	rules := at.Child("restartPolicyRules")
	if c.RestartPolicy == nil {
		if len(c.RestartPolicyRules) > 0 {
			errs = append(errs, field.Required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
		}
		return errs
	}
	allowed := []corev1.ContainerRestartPolicy{corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure}
	if !slices.Contains(allowed, *c.RestartPolicy) {
		errs = append(errs, field.NotSupported(at.Child("restartPolicy"), *c.RestartPolicy, allowed))
	}
	if len(c.RestartPolicyRules) > rulesMax {
		errs = append(errs, field.TooMany(rules, len(c.RestartPolicyRules), rulesMax))
	}
	for i, r := range c.RestartPolicyRules {
		at := rules.Index(i)
		if r.Action != corev1.ContainerRestartRuleActionRestart {
			errs = append(errs, field.NotSupported(at.Child("action"), r.Action, []corev1.ContainerRestartRuleAction{corev1.ContainerRestartRuleActionRestart}))
		}
		at = at.Child("exitCodes")
		if r.ExitCodes == nil {
			errs = append(errs, field.Required(at, "must be specified"))
			continue
		}
		ops := []corev1.ContainerRestartRuleOnExitCodesOperator{corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn}
		if !slices.Contains(ops, r.ExitCodes.Operator) {
			errs = append(errs, field.NotSupported(at.Child("operator"), r.ExitCodes.Operator, ops))
		}
		if n := len(r.ExitCodes.Values); n > exitCodesMax {
			errs = append(errs, field.TooMany(at.Child("values"), n, exitCodesMax))
		}
	}
	return errs
}

// initial checks an init container: one that is no sidecar ends before anybody asks it.
func initial(c *corev1.Container, at *field.Path) (errs field.ErrorList) {
	if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
		return nil
	}
	for name, set := range map[string]bool{
		"lifecycle": c.Lifecycle != nil, "livenessProbe": c.LivenessProbe != nil, "readinessProbe": c.ReadinessProbe != nil, "startupProbe": c.StartupProbe != nil,
	} {
		if set {
			errs = append(errs, field.Forbidden(at.Child(name), fmt.Sprintf("may not be set for init containers without restartPolicy=%s", corev1.ContainerRestartPolicyAlways)))
		}
	}
	return errs
}
