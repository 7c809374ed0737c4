package marathon

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/object"
)

// What numbers may be at most: beyond, they are no amount of anything.
const (
	cpusMax      = 1e6
	mebibytesMax = 1e9
	secondsMax   = 366 * 24 * 3600
	instancesMax = 1e6
)

// Validate returns what is wrong with a complete definition; a Problems.
func (d *Definition) Validate() error {
	var bad Problems
	if why := checkID(d.ID); why != "" {
		bad.add("/id", "%s", why)
		return bad
	}
	d.checkWords(&bad)
	d.checkSecrets(&bad)
	d.checkVolumes(&bad)
	d.checkNumbers(&bad)
	d.checkNetworks(&bad)
	d.checkPorts(&bad)
	d.checkStrategies(&bad)
	d.checkHealth(&bad)
	d.checkBalanced(&bad)
	if _, err := d.Autoscaler(); err != nil {
		bad.add("/labels", "%v", err)
	}
	if _, err := object.ReadRebalance(d.Labels[object.RebalanceKey]); err != nil {
		bad.add("/labels/"+object.RebalanceKey, "%v", err)
	}
	if len(bad) > 0 {
		return bad
	}
	_, err := d.Template()
	return err
}

// keyForm is what a key of a Secret may be.
var keyForm = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)

func (d *Definition) checkSecrets(bad *Problems) {
	for _, name := range sortedKeys(d.Secrets) {
		from, key := d.Secrets[name].place()
		if len(validation.IsDNS1123Subdomain(from)) > 0 || !keyForm.MatchString(key) || key == "." || key == ".." {
			bad.add("/secrets/"+name+"/source", "%q: it is the name of a Secret, or NAME/KEY of one", d.Secrets[name].Source)
		}
	}
}

// checkVolumes looks at what a mount needs whatever it is of.
func (d *Definition) checkVolumes(bad *Problems) {
	if d.Container == nil {
		return
	}
	at := map[string]bool{}
	for i, v := range d.Container.Volumes {
		path := fmt.Sprintf("/container/volumes/%d", i)
		if v.ContainerPath == "" || strings.Contains(v.ContainerPath, "..") || strings.ContainsAny(v.ContainerPath, ":\x00") || at[v.ContainerPath] {
			bad.add(path+"/containerPath", "%q: it is a path, without .. and :, and each has its own", v.ContainerPath)
		}
		at[v.ContainerPath] = true
		if v.Mode != "RO" && v.Mode != "RW" && v.Secret == nil {
			bad.add(path+"/mode", "%q: it is RO or RW", v.Mode)
		}
		if v.HostPath != nil && (!strings.HasPrefix(*v.HostPath, "/") || strings.Contains(*v.HostPath, "..")) {
			bad.add(path+"/hostPath", "%q: it is an absolute path without ..", *v.HostPath)
		}
	}
}

func (d *Definition) checkWords(bad *Problems) {
	if d.Pod != nil {
		return
	}
	image := d.Container != nil && d.Container.Docker != nil && d.Container.Docker.Image != ""
	switch {
	case d.Cmd != nil && len(d.Args) > 0:
		bad.add("/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
	case d.Cmd == nil && len(d.Args) == 0 && !image:
		bad.add("/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
	}
	if c := d.Container; c != nil && c.Type != "MESOS" && c.Type != "DOCKER" {
		bad.add("/container/type", "%q: it is MESOS or DOCKER", c.Type)
	}
	for i, on := range d.Dependencies {
		if why := checkID(on); why != "" {
			bad.add(fmt.Sprintf("/dependencies/%d", i), "%s", why)
		}
		if on == d.ID {
			bad.add(fmt.Sprintf("/dependencies/%d", i), "an app does not depend on itself")
		}
	}
	if d.Role != "" && (strings.HasPrefix(d.Role, "-") || d.Role == "." || d.Role == ".." || strings.ContainsAny(d.Role, " \t\r\n\\")) {
		bad.add("/role", "%q is no name of a role", d.Role)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// within refuses a number that is no amount of what it stands for.
func (p *Problems) within(path string, n, least, most float64) {
	switch {
	case math.IsNaN(n) || n < least:
		p.add(path, "error.min: got %v, expected %v or more", n, least)
	case n > most:
		p.add(path, "error.max: got %v, expected %v or less", n, most)
	}
}

func (l *ResourceLimits) check(bad *Problems, path string, cpus, mem float64) {
	if l == nil {
		return
	}
	if l.CPUs != nil && !l.CPUs.Unlimited {
		bad.within(path+"/resourceLimits/cpus", l.CPUs.Value, cpus, cpusMax)
	}
	if l.Mem != nil && !l.Mem.Unlimited {
		bad.within(path+"/resourceLimits/mem", l.Mem.Value, mem, mebibytesMax)
	}
}

// checkContainers looks at the numbers and paths of a pod.
func (p *PodSpec) checkContainers(bad *Problems) {
	for i := range p.Containers {
		c, path := &p.Containers[i], fmt.Sprintf("/containers/%d", i)
		bad.within(path+"/resources/cpus", *c.Resources.CPUs, 0, cpusMax)
		bad.within(path+"/resources/mem", *c.Resources.Mem, 0, mebibytesMax)
		bad.within(path+"/resources/disk", *c.Resources.Disk, 0, mebibytesMax)
		bad.within(path+"/resources/gpus", float64(*c.Resources.GPUs), 0, 1e4)
		c.ResourceLimits.check(bad, path, *c.Resources.CPUs, *c.Resources.Mem)
		if c.Lifecycle != nil {
			bad.within(path+"/lifecycle/killGracePeriodSeconds", or(c.Lifecycle.KillGracePeriodSeconds, 0), 0, secondsMax)
		}
		if c.HealthCheck != nil {
			c.HealthCheck.checkTimes(bad, path+"/healthCheck")
		}
		for n, e := range c.Endpoints {
			for _, port := range []int32{or(e.ContainerPort, 0), or(e.HostPort, 0)} {
				if port < 0 || port > math.MaxUint16 {
					bad.add(fmt.Sprintf("%s/endpoints/%d", path, n), "%d is no port: it is 0 to 65535", port)
				}
			}
			for _, protocol := range protocols(strings.Join(e.Protocol, ",")) {
				if protocol != "TCP" && protocol != "UDP" {
					bad.add(fmt.Sprintf("%s/endpoints/%d/protocol", path, n), "%q: it is tcp or udp", protocol)
				}
			}
		}
		for n, m := range c.VolumeMounts {
			if m.MountPath == "" || strings.Contains(m.MountPath, "..") || strings.Contains(m.MountPath, ":") {
				bad.add(fmt.Sprintf("%s/volumeMounts/%d/mountPath", path, n), "%q: it is a path, without .. and :", m.MountPath)
			}
		}
	}
	for i, v := range p.Volumes {
		if v.Host != nil && (!strings.HasPrefix(*v.Host, "/") || strings.Contains(*v.Host, "..")) {
			bad.add(fmt.Sprintf("/volumes/%d/host", i), "%q: it is an absolute path without ..", *v.Host)
		}
	}
}

func (d *Definition) checkNumbers(bad *Problems) {
	within := bad.within
	if d.Pod != nil {
		d.Pod.checkContainers(bad)
	}
	within("/instances", float64(*d.Instances), 0, instancesMax)
	within("/cpus", *d.CPUs, 0, cpusMax)
	within("/mem", *d.Mem, 0, mebibytesMax)
	within("/disk", *d.Disk, 0, mebibytesMax)
	within("/gpus", float64(*d.GPUs), 0, 1e4)
	within("/backoffSeconds", *d.BackoffSeconds, 0, secondsMax)
	within("/backoffFactor", *d.BackoffFactor, 1, 1e6)
	within("/maxLaunchDelaySeconds", *d.MaxLaunchDelaySeconds, 0, secondsMax)
	if d.KillGraceSeconds != nil {
		within("/taskKillGracePeriodSeconds", *d.KillGraceSeconds, 0, secondsMax)
	}
	if x := d.ExecutorResources; x != nil {
		within("/executorResources/cpus", or(x.CPUs, 0), 0, cpusMax)
		within("/executorResources/mem", or(x.Mem, 0), 0, mebibytesMax)
	}
	d.ResourceLimits.check(bad, "", *d.CPUs, *d.Mem)
}

func (d *Definition) checkNetworks(bad *Problems) {
	modes := map[string]int{}
	for i, n := range d.Networks {
		path := fmt.Sprintf("/networks/%d", i)
		modes[n.Mode]++
		switch n.Mode {
		case HostNetwork, BridgeNetwork:
			if n.Name != nil {
				bad.add(path+"/name", "only networks of mode container have a name")
			}
		case NamedNetwork:
			if n.Name == nil || *n.Name == "" {
				bad.add(path+"/name", "is missing: a network of mode container has one")
			}
		default:
			bad.add(path+"/mode", "%q: it is host, container or container/bridge", n.Mode)
		}
	}
	if len(modes) > 1 || modes[HostNetwork] > 1 || modes[BridgeNetwork] > 1 {
		bad.add("/networks", "may only contain one network of mode host, or one of mode container/bridge, or any of mode container")
	}
	if d.Bridged() && len(d.PortDefinitions) > 0 && d.Pod == nil {
		bad.add("/portDefinitions", "are for networks of mode host: use container.portMappings")
	}
	if !d.Bridged() && d.Container != nil && len(d.Container.PortMappings) > 0 {
		bad.add("/container/portMappings", "are for networks of mode container and container/bridge: use portDefinitions")
	}
	if d.Bridged() && d.Container == nil && d.Pod == nil {
		bad.add("/container", "is missing: networks of mode container and container/bridge need one")
	}
}

func (d *Definition) checkPorts(bad *Problems) {
	at := func(i int) string {
		if d.Bridged() {
			return fmt.Sprintf("/container/portMappings/%d", i)
		}
		return fmt.Sprintf("/portDefinitions/%d", i)
	}
	names, service := map[string]bool{}, map[int32]bool{}
	for i, p := range d.Ports() {
		for _, n := range []int32{p.Service, p.Container, p.Host} {
			if n < 0 || n > math.MaxUint16 {
				bad.add(at(i), "%d is no port: it is 0 to 65535", n)
			}
		}
		for _, protocol := range p.Protocols {
			if protocol != "TCP" && protocol != "UDP" {
				bad.add(at(i)+"/protocol", "%q: it is tcp, udp, or udp,tcp", strings.ToLower(string(protocol)))
			}
		}
		if p.Name != "" && names[p.Name] {
			bad.add(at(i)+"/name", "%q: port names must be unique", p.Name)
		}
		if p.Service != 0 && service[p.Service] {
			bad.add(at(i), "%d: ports must be unique", p.Service)
		}
		names[p.Name], service[p.Service] = true, true
	}
}

func (d *Definition) checkStrategies(bad *Problems) {
	bad.within("/upgradeStrategy/minimumHealthCapacity", *d.UpgradeStrategy.MinimumHealthCapacity, 0, 1)
	bad.within("/upgradeStrategy/maximumOverCapacity", *d.UpgradeStrategy.MaximumOverCapacity, 0, 1)
	if d.Resident() && *d.UpgradeStrategy.MaximumOverCapacity != 0 {
		bad.add("/upgradeStrategy/maximumOverCapacity", "must be 0 for apps with persistent volumes")
	}
	if d.KillSelection != "YOUNGEST_FIRST" && d.KillSelection != "OLDEST_FIRST" {
		bad.add("/killSelection", "%q: it is YOUNGEST_FIRST or OLDEST_FIRST", d.KillSelection)
	}
	switch u := d.Unreachable; {
	case u.Disabled:
	case d.Resident():
		bad.add("/unreachableStrategy", "must be disabled for apps with persistent volumes")
	case u.InactiveAfterSeconds < 0 || u.InactiveAfterSeconds > secondsMax:
		bad.add("/unreachableStrategy/inactiveAfterSeconds", "is %d: it is 0 to %d", u.InactiveAfterSeconds, int64(secondsMax))
	case u.ExpungeAfterSeconds < u.InactiveAfterSeconds || u.ExpungeAfterSeconds > secondsMax:
		bad.add("/unreachableStrategy/expungeAfterSeconds", "is %d: it is inactiveAfterSeconds or more", u.ExpungeAfterSeconds)
	}
}

// checkBalanced refuses virtual hosts of which some have a certificate of their own and the
// cluster is to make others': it would make all.
func (d *Definition) checkBalanced(bad *Problems) {
	own, ours := false, false
	for _, b := range d.Balanced() {
		if len(b.Hosts) > 0 {
			own, ours = own || b.Certificate != "", ours || b.Redirect && b.Certificate == ""
		}
		if b.Certificate != "" && len(validation.IsDNS1123Subdomain(b.Certificate)) > 0 {
			bad.add(fmt.Sprintf("/labels/HAPROXY_%d_SSL_CERT", b.Index), "%q is no name of a Secret", b.Certificate)
		}
		for _, host := range b.Hosts {
			if len(validation.IsDNS1123Subdomain(host)) > 0 && len(validation.IsWildcardDNS1123Subdomain(host)) > 0 {
				bad.add(fmt.Sprintf("/labels/HAPROXY_%d_VHOST", b.Index), "%q is no name of a host", host)
			}
		}
	}
	if own && ours {
		bad.add("/labels", "HAPROXY_n_SSL_CERT: name the certificates of all virtual hosts, or of none")
	}
}

func (h *HealthCheck) checkTimes(bad *Problems, path string) {
	for _, f := range []struct {
		name string
		n    int32
	}{
		{"gracePeriodSeconds", *h.GracePeriodSeconds}, {"intervalSeconds", *h.IntervalSeconds}, {"timeoutSeconds", *h.TimeoutSeconds},
		{"maxConsecutiveFailures", *h.MaxConsecutiveFailures}, {"delaySeconds", *h.DelaySeconds},
	} {
		if f.n < 0 || f.n > secondsMax {
			bad.add(path+"/"+f.name, "is %d: it is 0 to %d", f.n, int64(secondsMax))
		}
	}
}

func (d *Definition) checkHealth(bad *Problems) {
	marathons, mesos := false, false
	for i, h := range d.HealthChecks {
		path := fmt.Sprintf("/healthChecks/%d", i)
		switch h.Protocol {
		case "HTTP", "HTTPS", "TCP":
			marathons = true
		default:
			mesos = true
		}
		h.checkTimes(bad, path)
		if h.Port != nil && h.PortIndex != nil {
			bad.add(path, "has both port and portIndex: give one")
		}
	}
	if marathons && mesos {
		bad.add("/healthChecks", "may only contain checks of Marathon's own (HTTP, HTTPS, TCP), or of Mesos (COMMAND, MESOS_HTTP, MESOS_HTTPS, MESOS_TCP)")
	}
}
