package marathon

import (
	"fmt"
	"math"
	"slices"
	"strings"
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
	d.checkNumbers(&bad)
	d.checkNetworks(&bad)
	d.checkPorts(&bad)
	d.checkStrategies(&bad)
	d.checkHealth(&bad)
	if _, err := d.Autoscaler(); err != nil {
		bad.add("/labels", "%v", err)
	}
	if len(bad) > 0 {
		return bad
	}
	_, err := d.Template()
	return err
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
	for _, name := range sortedKeys(d.Secrets) {
		if strings.Trim(d.Secrets[name].Source, "/") == "" {
			bad.add("/secrets/"+name+"/source", "must not be empty: name a Secret, or NAME/KEY of one")
		}
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

func (d *Definition) checkNumbers(bad *Problems) {
	within := func(path string, n, least, most float64) {
		switch {
		case math.IsNaN(n) || n < least:
			bad.add(path, "error.min: got %v, expected %v or more", n, least)
		case n > most:
			bad.add(path, "error.max: got %v, expected %v or less", n, most)
		}
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
	if l := d.ResourceLimits; l != nil {
		if l.CPUs != nil && !l.CPUs.Unlimited {
			within("/resourceLimits/cpus", l.CPUs.Value, *d.CPUs, cpusMax)
		}
		if l.Mem != nil && !l.Mem.Unlimited {
			within("/resourceLimits/mem", l.Mem.Value, *d.Mem, mebibytesMax)
		}
	}
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
	for path, n := range map[string]float64{"minimumHealthCapacity": *d.UpgradeStrategy.MinimumHealthCapacity, "maximumOverCapacity": *d.UpgradeStrategy.MaximumOverCapacity} {
		if n < 0 || n > 1 {
			bad.add("/upgradeStrategy/"+path, "is %v: it is between 0 and 1", n)
		}
	}
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
		for name, n := range map[string]int32{
			"gracePeriodSeconds": *h.GracePeriodSeconds, "intervalSeconds": *h.IntervalSeconds, "timeoutSeconds": *h.TimeoutSeconds,
			"maxConsecutiveFailures": *h.MaxConsecutiveFailures, "delaySeconds": *h.DelaySeconds,
		} {
			if n < 0 || n > secondsMax {
				bad.add(path+"/"+name, "is %d: it is 0 to %d", n, int64(secondsMax))
			}
		}
		if h.Port != nil && h.PortIndex != nil {
			bad.add(path, "has both port and portIndex: give one")
		}
	}
	if marathons && mesos {
		bad.add("/healthChecks", "may only contain checks of Marathon's own (HTTP, HTTPS, TCP), or of Mesos (COMMAND, MESOS_HTTP, MESOS_HTTPS, MESOS_TCP)")
	}
}
