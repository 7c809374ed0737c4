package sandbox

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// HostImage is the image of the program that enters the node's root file system
// (images/host). It is part of what every node brings.
const HostImage = "trireme.local/host:1"

const (
	rootVolume = "mesos-root"
	rootPath   = "/host"
	helper     = "/run-on-host"
)

// Command is a program as CommandInfo has it.
type Command struct {
	Shell bool // Value is a script for sh -c
	Value string
	Args  []string // of a program: all of them, with the one that is its own name
	User  string   // a name of the node's /etc/passwd, or a number; empty: root
}

// argv is what is executed: the program, and its arguments from its own name on.
func (c *Command) argv() (program string, argv []string) {
	switch {
	case c.Shell:
		return "/bin/sh", []string{"sh", "-c", c.Value}
	case len(c.Args) == 0:
		return c.Value, []string{c.Value}
	}
	return c.Value, c.Args
}

// InImage has the container run the command on its image's file system. An empty command
// is the image's own, with the arguments. What a program is told its own name is, is lost:
// images have no say in it.
func InImage(c *corev1.Container, cmd Command) {
	switch {
	case cmd.Shell:
		c.Command = []string{"/bin/sh", "-c", object.Literal(cmd.Value)}
	case cmd.Value != "":
		_, argv := cmd.argv()
		c.Command, c.Args = []string{object.Literal(cmd.Value)}, literals(argv[1:])
	default:
		c.Args = literals(cmd.Args)
	}
}

func literals(all []string) (out []string) {
	for _, text := range all {
		out = append(out, object.Literal(text))
	}
	return out
}

// OnHostRoot has the container run the command on the node's own root file system, in the
// sandbox, in cgroups, process and mount namespaces of its own. dir is its folder in the
// sandbox, as for Mount. It needs a host path and one capability, which pod security sees.
func OnHostRoot(p *corev1.Pod, c *corev1.Container, dir string, cmd Command) {
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[RootAnnotation] = RootHost
	addVolume(p, corev1.Volume{Name: rootVolume, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
	c.VolumeMounts = append(c.VolumeMounts,
		corev1.VolumeMount{Name: rootVolume, MountPath: rootPath}, corev1.VolumeMount{Name: Volume, MountPath: Path, SubPath: dir})
	c.Image, c.ImagePullPolicy = HostImage, corev1.PullIfNotPresent
	program, argv := cmd.argv()
	c.Command = []string{helper}
	if cmd.User != "" {
		c.Command = append(c.Command, "-u", object.Literal(cmd.User))
	}
	c.Command = append(c.Command, "-p", object.Literal(program), "--")
	c.Args = literals(argv)
	sc := c.SecurityContext
	if sc == nil {
		sc = &corev1.SecurityContext{}
		c.SecurityContext = sc
	}
	root := int64(0)
	sc.RunAsUser = &root // it becomes the user by itself
	if sc.Capabilities == nil {
		sc.Capabilities = &corev1.Capabilities{}
	}
	if !slices.Contains(sc.Capabilities.Add, "SYS_ADMIN") {
		sc.Capabilities.Add = append(sc.Capabilities.Add, "SYS_ADMIN") // to have /proc of its own; the command does not get it
	}
	if sc.AppArmorProfile == nil {
		sc.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	}
}

// UserOf returns the user that a container on the node's root becomes, empty: root.
func UserOf(c *corev1.Container) string {
	if len(c.Command) > 2 && c.Command[0] == helper && c.Command[1] == "-u" {
		return c.Command[2]
	}
	return ""
}

// Within returns the words that run one more command in a container that runs, where the
// container's own does: on the node's root, or on its image.
func Within(p *corev1.Pod, c *corev1.Container, cmd Command, env []string) []string {
	program, argv := cmd.argv()
	if len(env) > 0 {
		argv = append(append([]string{"env"}, env...), append([]string{program}, argv[1:]...)...)
		program = "env"
	}
	if !OnHost(p, c) {
		return append([]string{program}, argv[1:]...)
	}
	user := cmd.User
	if user == "" {
		user = UserOf(c)
	}
	words := []string{helper}
	if user != "" {
		words = append(words, "-u", user)
	}
	return append(append(words, "-p", program, "--"), argv...)
}
