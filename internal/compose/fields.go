package compose

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// refused are the fields that a cluster cannot honour, by the type that they are of, with
// the remedy.
var refused = map[string]map[string]string{
	"ContainerSpec": {
		"annotations":         "containers have labels here: use labels",
		"blkio_config":        "limits of block devices are its node's affair: leave it away",
		"cgroup":              "every task has a cgroup namespace of its own: leave it away",
		"cgroup_parent":       "cgroups are laid out by the node: limit the task with deploy.resources",
		"cpu_count":           "it is for Windows: use deploy.resources.limits.cpus",
		"cpu_percent":         "it is for Windows: use deploy.resources.limits.cpus",
		"cpu_period":          "use deploy.resources.limits.cpus",
		"cpu_quota":           "use deploy.resources.limits.cpus",
		"cpu_rt_period":       "real-time scheduling is not given to tasks: leave it away",
		"cpu_rt_runtime":      "real-time scheduling is not given to tasks: leave it away",
		"cpuset":              "CPUs are given by the node: reserve whole ones with deploy.resources, and start nodes with --cpu-manager-policy static",
		"cpu_shares":          "shares follow from what is reserved: use deploy.resources.reservations.cpus",
		"credential_spec":     "it is for Windows: leave it away",
		"device_cgroup_rules": "name the devices: use devices",
		"domainname":          "write the whole name as hostname",
		"isolation":           "it is for Windows: leave it away",
		"log_driver":          "use logging.driver",
		"log_opt":             "use logging.options",
		"memswap_limit":       "how a task swaps is its node's affair: start nodes with --swap-behavior",
		"mem_swappiness":      "how a task swaps is its node's affair: start nodes with --swap-behavior",
		"mac_address":         "addresses are given by the cluster: leave it away",
		"models":              "no model runner is part of a cluster: run one as a service",
		"oom_kill_disable":    "a task over its memory's limit ends: raise deploy.resources.limits.memory",
		"platform":            "use deploy.placement.constraints: node.platform.arch == …",
		"pull_refresh_after":  "images are pulled when a task starts: leave it away",
		"runtime":             "a runtime class is a pod's: use a Deployment of Kubernetes with runtimeClassName",
		"storage_opt":         "limit a task's disk with a quota of its node: leave it away",
		"umask":               "set it in the image's own command",
		"use_api_socket":      "no task is given the cluster's socket: use a kubeconfig as a secret",
		"userns_mode":         "user namespaces are a pod's: use a Deployment of Kubernetes with hostUsers: false",
		"uts":                 "it follows network_mode: host",
		"volume_driver":       "write the driver under the top-level volumes",
		"volumes_from":        "name the volume in both services",
	},
	"WorkloadSpec": {"dockerfile": "use build.dockerfile"},
	"ServiceConfig": {
		"container_name": "tasks are named SERVICE.SLOT.ID, for there may be several: leave it away",
		"external_links": "put both services on one external network",
		"links":          "services reach each other by name: leave it away, or use networks.NAME.aliases",
		"net":            "use network_mode",
		"provider":       "what a provider makes is not part of a cluster: make it before, and name it as external",
	},
	"DeployConfig":         {},
	"UpdateConfig":         {},
	"Resources":            {},
	"Resource":             {},
	"RestartPolicy":        {},
	"Placement":            {},
	"PlacementPreferences": {},
	"GenericResource":      {},
	"DeviceRequest": {
		"device_ids": "a device is given by the node: ask for a count",
		"options":    "options of devices are their plugin's: leave them away",
	},
	"DeviceMapping":     {},
	"HealthCheckConfig": {},
	"LoggingConfig":     {},
	"UlimitsConfig":     {},
	"EnvFile":           {},
	"ServiceNetworkConfig": {
		"gw_priority":            "a task leaves by the first of its networks that is not internal: leave it away",
		"interface_name":         "interfaces are named by the cluster: leave it away",
		"link_local_ips":         "addresses are given by the cluster: leave it away",
		"mac_address":            "addresses are given by the cluster: leave it away",
		"use_service_name_alias": "a service has its name on every network of its own: leave it away",
	},
	"ServicePortConfig":   {"app_protocol": "the mesh does not read what it carries: leave it away"},
	"ServiceVolumeConfig": {},
	"ServiceVolumeBind": {
		"selinux":   "nothing is labelled for SELinux: leave it away",
		"recursive": "a bind mount has what is mounted below: leave it away",
	},
	"ServiceVolumeVolume": {},
	"ServiceVolumeTmpfs":  {},
	"ServiceVolumeImage":  {"subpath": "the whole image is mounted: leave it away"},
	"FileReferenceConfig": {},
	"ServiceDependency":   {"restart": "tasks are not restarted with what they depend on: use the label trireme.dev/follow-content, or leave it away"},
	"ServiceHook": {
		"user":        "a hook runs as its task does: leave it away",
		"privileged":  "a hook runs as its task does: leave it away",
		"working_dir": "a hook runs as its task does: leave it away",
		"environment": "a hook has its task's variables: set them there, or write sh -c",
	},
	"PreStartHook": {},
	"JobConfig":    {},
	"TriggerConfig": {
		"manual": "a job runs on its schedule: for one that runs when it is deployed write a service with deploy.mode: replicated-job",
	},
	"ScheduleConfig": {
		"concurrency":  "a run that comes due ends the one before: leave it away",
		"missed_fires": "of runs that were missed the last one is made up for: leave it away",
	},
	"NetworkConfig":    {},
	"IPAMConfig":       {"options": "addresses are given by the cluster: leave them away"},
	"IPAMPool":         {"aux_addresses": "give ip_range, which other addresses are not taken from"},
	"VolumeConfig":     {},
	"FileObjectConfig": {"driver": "secrets are kept by the cluster: leave it away", "driver_opts": "secrets are kept by the cluster: leave them away"},
}

// silent are the fields that say nothing to a cluster: what they mean was done when the
// file was read, is of another command, or is documentation.
var silent = map[string][]string{
	"ContainerSpec": {"env_file", "label_file"},
	"WorkloadSpec":  {"build", "expose"},
	"ServiceConfig": {"name", "profiles", "develop", "attach", "extends"},
	"JobConfig":     {"name", "profiles"},
	"EnvFile":       {"path", "required", "format"},
}

// leaf are the types whose fields are not looked into.
var leaf = []string{"BuildConfig", "DevelopConfig", "ExtendsConfig", "ServiceProviderConfig", "BlkioConfig", "CredentialSpecConfig", "ServiceModelConfig", "DiscreteGenericResource"}

// alias are types that are another one by another name.
var alias = map[string]string{"ServiceSecretConfig": "FileReferenceConfig", "ServiceConfigObjConfig": "FileReferenceConfig", "SecretConfig": "FileObjectConfig", "ConfigObjConfig": "FileObjectConfig"}

// check returns an error for each refused field that the project says.
func check(p *types.Project) error {
	w := &walker{}
	w.all("services", p.Services)
	w.all("jobs", p.Jobs)
	w.all("networks", p.Networks)
	w.all("volumes", p.Volumes)
	w.all("secrets", p.Secrets)
	w.all("configs", p.Configs)
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		if mode := p.Services[name].NetworkMode; strings.Contains(mode, ":") {
			w.refuse("services."+name+".network_mode", "a task is on networks of its own, or on its node's: host, or none")
		}
	}
	if len(p.Models) > 0 {
		w.refuse("models", refused["ContainerSpec"]["models"])
	}
	return errors.Join(w.errs...)
}

// walker looks at all that a project says.
type walker struct{ errs []error }

func (w *walker) refuse(path, remedy string) {
	w.errs = append(w.errs, fmt.Errorf("%s: it cannot be honoured: %s", path, remedy))
}

func (w *walker) all(path string, v any) { w.value(path, reflect.ValueOf(v)) }

func (w *walker) value(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			w.value(path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			w.value(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			w.value(path+"."+k.String(), v.MapIndex(k))
		}
	case reflect.Struct:
		w.fields(path, v)
	}
}

func (w *walker) fields(path string, v reflect.Value) {
	name := typeName(v.Type())
	if slices.Contains(leaf, name) {
		return
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			w.fields(path, v.Field(i))
			continue
		}
		tag := tagOf(f)
		if tag == "" || v.Field(i).IsZero() {
			continue
		}
		if remedy, no := refused[name][tag]; no {
			w.refuse(path+"."+tag, remedy)
			continue
		}
		w.value(path+"."+tag, v.Field(i))
	}
}

func typeName(t reflect.Type) string {
	if other, ok := alias[t.Name()]; ok {
		return other
	}
	return t.Name()
}

// tagOf returns a field's name in the file, empty: it has none.
func tagOf(f reflect.StructField) string {
	tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if tag == "-" || strings.HasPrefix(tag, "#") || !f.IsExported() {
		return ""
	}
	return tag
}

// Notes returns what is said and not done here, for the user to know.
func notes(p *types.Project) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		s := p.Services[name]
		if s.Build != nil {
			out = append(out, fmt.Sprintf("services.%s.build: nothing is built: nodes have to find the image %s", name, s.Image))
		}
	}
	return out
}
