package marathon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Problem is what is wrong with a definition, in the words of Marathon's errors.
type Problem struct {
	Path   string   `json:"path"`
	Errors []string `json:"errors"`
}

// Problems are all of one object.
type Problems []Problem

// Error implements error.
func (p Problems) Error() string {
	var parts []string
	for _, one := range p {
		parts = append(parts, one.Path+": "+strings.Join(one.Errors, ", "))
	}
	return "Object is not valid: " + strings.Join(parts, "; ")
}

func (p *Problems) add(path, format string, args ...any) {
	*p = append(*p, Problem{path, []string{fmt.Sprintf(format, args...)}})
}

// readOnly are the fields that clients send back as they got them.
var readOnly = []string{
	"tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "deployments", "tasks", "lastTaskFailure", "taskStats",
	"readinessCheckResults", "storeUrls",
}

// legacy is what older clients write, which is migrated.
type legacy struct {
	Ports     []int32    `json:"ports"`
	URIs      []string   `json:"uris"`
	IPAddress *ipAddress `json:"ipAddress"`
	Residency *struct {
		TaskLostBehavior                 string `json:"taskLostBehavior"`
		RelaunchEscalationTimeoutSeconds int64  `json:"relaunchEscalationTimeoutSeconds"`
	} `json:"residency"`
	Container *struct {
		Docker *struct {
			Network      string        `json:"network"`
			PortMappings []PortMapping `json:"portMappings"`
		} `json:"docker"`
	} `json:"container"`
}

type ipAddress struct {
	Groups      []string          `json:"groups"`
	Labels      map[string]string `json:"labels"`
	NetworkName string            `json:"networkName"`
	Discovery   *struct {
		Ports []struct {
			Number   int32  `json:"number"`
			Name     string `json:"name"`
			Protocol string `json:"protocol"`
		} `json:"ports"`
	} `json:"discovery"`
}

// ErrJSON says that a body is no JSON object.
var ErrJSON = errors.New("Invalid JSON")

// Fields reads a body as the fields of an object.
func Fields(body []byte) (map[string]any, error) {
	var tree map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil || tree == nil || d.More() {
		return nil, ErrJSON
	}
	return tree, nil
}

// Parse reads an app as its user wrote it, migrates what older clients write, and fills in
// defaults. The group is what a relative id is below. An error is a Problems.
func Parse(tree map[string]any, group string) (*Definition, error) {
	tree = prune(tree).(map[string]any)
	for _, name := range readOnly {
		delete(tree, name)
	}
	old, err := takeLegacy(tree)
	if err != nil {
		return nil, err
	}
	d := &Definition{}
	if err := strict(tree, d); err != nil {
		return nil, err
	}
	if d.Pod != nil {
		return nil, Problems{{"/pod", []string{"is not a field that is known here: pods are at /v2/pods"}}}
	}
	if d.ID == "" {
		return nil, Problems{{"/id", []string{"is missing: give the app an id"}}}
	}
	d.ID = Resolve(d.ID, group)
	if err := d.migrate(old); err != nil {
		return nil, err
	}
	for i, on := range d.Dependencies {
		d.Dependencies[i] = Resolve(on, Parent(d.ID))
	}
	d.complete()
	return d, nil
}

// prune takes away what is null, which means that it is not there.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if x != nil {
				out[k] = prune(x)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = prune(x)
		}
		return out
	}
	return v
}

// strict decodes a tree, and names fields that are not known and values that do not fit.
func strict(tree, into any) error {
	b, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err = dec.Decode(into)
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mismatch):
		return Problems{{"/" + strings.ReplaceAll(mismatch.Field, ".", "/"), []string{fmt.Sprintf("error.expected.%s", kindOf(mismatch))}}}
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return Problems{{"/" + strings.Trim(name, `"`), []string{"is not a field that is known here: leave it out"}}}
	}
	return Problems{{"/", []string{err.Error()}}}
}

func kindOf(e *json.UnmarshalTypeError) string {
	switch k := e.Type.Kind().String(); {
	case strings.HasPrefix(k, "int"), strings.HasPrefix(k, "float"):
		return "jsnumber"
	case k == "string":
		return "jsstring"
	case k == "slice":
		return "jsarray"
	case k == "bool":
		return "jsboolean"
	}
	return "jsobject"
}

// takeLegacy takes the fields that older clients write out of the tree.
func takeLegacy(tree map[string]any) (*legacy, error) {
	old := &legacy{}
	b, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	var mismatch *json.UnmarshalTypeError
	if err := json.Unmarshal(b, old); errors.As(err, &mismatch) {
		return nil, Problems{{"/" + strings.ReplaceAll(mismatch.Field, ".", "/"), []string{"error.expected." + kindOf(mismatch)}}}
	} else if err != nil {
		return nil, Problems{{"/", []string{err.Error()}}}
	}
	for _, name := range []string{"ports", "uris", "ipAddress", "residency"} {
		delete(tree, name)
	}
	if container, ok := tree["container"].(map[string]any); ok {
		if docker, ok := container["docker"].(map[string]any); ok {
			delete(docker, "network")
			delete(docker, "portMappings")
		}
	}
	return old, nil
}

// migrate writes what older clients say in today's words.
func (d *Definition) migrate(old *legacy) error {
	var bad Problems
	for _, uri := range old.URIs {
		if !slices.ContainsFunc(d.Fetch, func(f Fetch) bool { return f.URI == uri }) {
			d.Fetch = append(d.Fetch, Fetch{URI: uri})
		}
	}
	if old.Ports != nil && d.PortDefinitions == nil && !d.ownNetwork(old) {
		d.PortDefinitions = []PortDefinition{}
		for _, p := range old.Ports {
			d.PortDefinitions = append(d.PortDefinitions, PortDefinition{Port: p})
		}
	}
	if c := old.Container; c != nil && c.Docker != nil && d.Container != nil {
		if len(d.Container.PortMappings) == 0 {
			d.Container.PortMappings = c.Docker.PortMappings
		}
		if len(d.Networks) == 0 {
			switch strings.ToUpper(c.Docker.Network) {
			case "":
			case "HOST", "NONE":
				d.Networks = []Network{{Mode: HostNetwork}}
			case "BRIDGE":
				d.Networks = []Network{{Mode: BridgeNetwork}}
			case "USER":
				if old.IPAddress == nil || old.IPAddress.NetworkName == "" {
					bad.add("/ipAddress/networkName", "is to name the network that container.docker.network USER asks for")
				}
			default:
				bad.add("/container/docker/network", "%q: it is HOST, BRIDGE, USER or NONE", c.Docker.Network)
			}
		}
	}
	if a := old.IPAddress; a != nil && len(d.Networks) == 0 {
		d.Networks = []Network{{Mode: BridgeNetwork, Labels: a.Labels}}
		if a.NetworkName != "" {
			d.Networks[0].Mode, d.Networks[0].Name = NamedNetwork, &a.NetworkName
		}
		if a.Discovery != nil {
			d.discover(a)
		}
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

// discover writes the ports of ipAddress as mappings.
func (d *Definition) discover(a *ipAddress) {
	if d.Container == nil {
		d.Container = &Container{Type: "MESOS"}
	}
	if len(d.Container.PortMappings) > 0 {
		return
	}
	for _, p := range a.Discovery.Ports {
		name := p.Name
		d.Container.PortMappings = append(d.Container.PortMappings, PortMapping{ContainerPort: p.Number, Name: &name, Protocol: p.Protocol})
	}
}

// ownNetwork reports whether ports, which older clients always send, are those of mappings.
func (d *Definition) ownNetwork(old *legacy) bool {
	if old.IPAddress != nil || d.Container != nil && len(d.Container.PortMappings) > 0 {
		return true
	}
	if c := old.Container; c != nil && c.Docker != nil && (len(c.Docker.PortMappings) > 0 || strings.EqualFold(c.Docker.Network, "BRIDGE")) {
		return true
	}
	return len(d.Networks) > 0 && d.Networks[0].Mode != HostNetwork && d.Networks[0].Mode != ""
}

// Bridged reports whether instances have a network of their own.
func (d *Definition) Bridged() bool { return len(d.Networks) > 0 && d.Networks[0].Mode != HostNetwork }

// Resident reports whether instances have volumes that outlive them.
func (d *Definition) Resident() bool {
	return d.Container != nil && slices.ContainsFunc(d.Container.Volumes, func(v Volume) bool { return v.Persistent != nil })
}

func fill[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

// complete fills in defaults (§11).
func (d *Definition) complete() {
	if d.Pod != nil {
		d.Pod.completeContainers()
		if d.PortDefinitions == nil {
			d.PortDefinitions = []PortDefinition{}
		}
	}
	fill(&d.Instances, 1)
	fill(&d.CPUs, 1)
	fill(&d.Mem, 128)
	fill(&d.Disk, 0)
	fill(&d.GPUs, 0)
	fill(&d.Executor, "")
	fill(&d.BackoffSeconds, 1)
	fill(&d.BackoffFactor, 1.15)
	fill(&d.MaxLaunchDelaySeconds, 300)
	if d.Env == nil {
		d.Env = map[string]EnvValue{}
	}
	if d.Labels == nil {
		d.Labels = map[string]string{}
	}
	if d.Constraints == nil {
		d.Constraints = [][]string{}
	}
	if d.KillSelection == "" {
		d.KillSelection = "YOUNGEST_FIRST"
	}
	if d.UpgradeStrategy == nil {
		d.UpgradeStrategy = &UpgradeStrategy{}
	}
	if d.Resident() {
		fill(&d.UpgradeStrategy.MinimumHealthCapacity, 0.5)
		fill(&d.UpgradeStrategy.MaximumOverCapacity, 0)
		fill(&d.Unreachable, Unreachable{Disabled: true})
	} else {
		fill(&d.UpgradeStrategy.MinimumHealthCapacity, 1)
		fill(&d.UpgradeStrategy.MaximumOverCapacity, 1)
		fill(&d.Unreachable, Unreachable{})
	}
	d.completeNetworks()
	d.completeContainer()
	for i := range d.Fetch {
		f := &d.Fetch[i]
		fill(&f.Extract, true)
		fill(&f.Executable, false)
		fill(&f.Cache, false)
	}
	d.completeChecks()
}

func (d *Definition) completeNetworks() {
	if len(d.Networks) == 0 {
		d.Networks = []Network{{Mode: HostNetwork}}
	}
	for i := range d.Networks {
		if d.Networks[i].Mode == "" {
			d.Networks[i].Mode = NamedNetwork
		}
	}
	if d.Bridged() {
		return
	}
	fill(&d.RequirePorts, false)
	if d.PortDefinitions == nil {
		name := "default"
		d.PortDefinitions = []PortDefinition{{Name: &name}}
	}
	for i := range d.PortDefinitions {
		if d.PortDefinitions[i].Protocol == "" {
			d.PortDefinitions[i].Protocol = "tcp"
		}
	}
}

func (d *Definition) completeContainer() {
	c := d.Container
	if c == nil {
		return
	}
	if c.Type == "" {
		c.Type = "DOCKER"
	}
	if c.Volumes == nil {
		c.Volumes = []Volume{}
	}
	if c.Docker != nil && c.Docker.Parameters == nil {
		c.Docker.Parameters = []Parameter{}
	}
	for i := range c.PortMappings {
		p := &c.PortMappings[i]
		if p.Protocol == "" {
			p.Protocol = "tcp"
		}
		if d.Networks[0].Mode == BridgeNetwork {
			fill(&p.HostPort, 0)
		}
	}
	for i := range c.Volumes {
		v := &c.Volumes[i]
		if v.Persistent == nil {
			continue
		}
		if v.Persistent.Type == "" {
			v.Persistent.Type = "root"
		}
		if v.Persistent.Constraints == nil {
			v.Persistent.Constraints = [][]string{}
		}
	}
}

func (d *Definition) completeChecks() {
	for i := range d.HealthChecks {
		h := &d.HealthChecks[i]
		if h.Protocol == "" {
			h.Protocol = "HTTP"
			if h.Command != nil {
				h.Protocol = "COMMAND"
			}
		}
		fill(&h.GracePeriodSeconds, 300)
		fill(&h.IntervalSeconds, 60)
		fill(&h.TimeoutSeconds, 20)
		fill(&h.MaxConsecutiveFailures, 3)
		fill(&h.DelaySeconds, 15)
		if h.Protocol == "COMMAND" {
			continue
		}
		if h.Port == nil {
			fill(&h.PortIndex, 0)
		}
		if strings.Contains(h.Protocol, "HTTP") {
			fill(&h.Path, "/")
			fill(&h.IgnoreHTTP1xx, false)
		}
	}
	for i := range d.ReadinessChecks {
		r := &d.ReadinessChecks[i]
		set := func(field *string, value string) {
			if *field == "" {
				*field = value
			}
		}
		set(&r.Name, "readinessCheck")
		set(&r.Protocol, "HTTP")
		set(&r.Path, "/")
		set(&r.PortName, "http-api")
		fill(&r.IntervalSeconds, 30)
		fill(&r.TimeoutSeconds, 10)
		fill(&r.PreserveLastResponse, false)
		if len(r.HTTPStatusCodesForReady) == 0 {
			r.HTTPStatusCodesForReady = []int32{200}
		}
	}
}

// together are fields that mean the same thing, or exclude each other: an update that has one
// leaves nothing of the others.
var together = map[string][]string{
	"cmd": {"args"}, "args": {"cmd"}, "ports": {"portDefinitions"}, "uris": {"fetch"}, "ipAddress": {"networks", "portDefinitions"}, "residency": {"unreachableStrategy"},
}

// Overlay returns the definition as its user would write it with the fields of an update in
// place of its own.
func Overlay(d *Definition, update map[string]any) (map[string]any, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	tree, err := Fields(b)
	if err != nil {
		return nil, err
	}
	update, _ = prune(update).(map[string]any)
	for name := range update {
		for _, other := range together[name] {
			if _, given := update[other]; !given {
				delete(tree, other)
			}
		}
	}
	if mode := modeOf(update); mode != "" {
		delete(tree, "networks") // given, or meant by what older clients write
		if mode != HostNetwork {
			delete(tree, "portDefinitions")
			delete(tree, "requirePorts")
		}
	}
	maps.Copy(tree, update)
	return tree, nil
}

// modeOf returns the mode of the networks that an update asks for; empty: it says nothing.
func modeOf(update map[string]any) string {
	if networks, ok := update["networks"].([]any); ok && len(networks) > 0 {
		one, _ := networks[0].(map[string]any)
		if mode, ok := one["mode"].(string); ok {
			return mode
		}
		return NamedNetwork
	}
	container, _ := update["container"].(map[string]any)
	docker, _ := container["docker"].(map[string]any)
	switch network, _ := docker["network"].(string); strings.ToUpper(network) {
	case "BRIDGE":
		return BridgeNetwork
	case "USER":
		return NamedNetwork
	case "HOST", "NONE":
		return HostNetwork
	}
	return ""
}
