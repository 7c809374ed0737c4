package compose

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what is made as what is wanted")

// TestConvert reads the files of each script and compares the stack, or what is refused.
func TestConvert(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			script, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var want *txtar.File
			for i := range script.Files {
				f := &script.Files[i]
				if f.Name == "want" {
					want = f
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := convert(t.Context(), dir)
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(script), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("the stack differs (-want +got):\n%s", diff)
			}
		})
	}
}

func convert(ctx context.Context, dir string) string {
	p, err := Load(ctx, Source{Name: "shop", Files: []string{filepath.Join(dir, "compose.yaml")}, Environment: []string{"TAG=2"}})
	if err != nil {
		return strings.ReplaceAll(err.Error(), dir, "DIR") + "\n"
	}
	s, err := Convert(p)
	if err != nil {
		return strings.ReplaceAll(err.Error(), dir, "DIR") + "\n"
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(string(b), dir, "DIR") + "\n"
}

// honoured are the fields that Convert reads, by their type.
var honoured = map[string][]string{
	"ContainerSpec": {"cap_add", "cap_drop", "cpus", "command", "configs", "devices", "dns", "dns_opt", "dns_search", "entrypoint", "environment", "extra_hosts", "group_add",
		"gpus", "hostname", "image", "init", "ipc", "labels", "logging", "mem_limit", "mem_reservation", "network_mode", "networks", "oom_score_adj", "pid", "pids_limit", "privileged", "pull_policy",
		"read_only", "secrets", "security_opt", "shm_size", "stop_grace_period", "stop_signal", "sysctls", "tmpfs", "ulimits", "user", "volumes", "working_dir"},
	"WorkloadSpec":         {"depends_on", "healthcheck", "ports", "stdin_open", "tty"},
	"ServiceConfig":        {"deploy", "restart", "scale", "pre_start", "post_start", "pre_stop"},
	"DeployConfig":         {"mode", "replicas", "labels", "update_config", "rollback_config", "resources", "restart_policy", "placement", "endpoint_mode"},
	"UpdateConfig":         {"parallelism", "delay", "failure_action", "monitor", "max_failure_ratio", "order"},
	"Resources":            {"limits", "reservations"},
	"Resource":             {"cpus", "memory", "pids", "devices", "generic_resources"},
	"RestartPolicy":        {"condition", "delay", "max_attempts", "window"},
	"Placement":            {"constraints", "preferences", "max_replicas_per_node"},
	"PlacementPreferences": {"spread"},
	"GenericResource":      {"discrete_resource_spec"},
	"DeviceRequest":        {"capabilities", "driver", "count"},
	"DeviceMapping":        {"source", "target", "permissions"},
	"HealthCheckConfig":    {"test", "timeout", "interval", "retries", "start_period", "start_interval", "disable"},
	"LoggingConfig":        {"driver", "options"},
	"UlimitsConfig":        {"single", "soft", "hard"},
	"ServiceNetworkConfig": {"aliases", "driver_opts", "ipv4_address", "ipv6_address", "priority"},
	"ServicePortConfig":    {"name", "mode", "host_ip", "target", "published", "protocol"},
	"ServiceVolumeConfig":  {"type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs", "image"},
	"ServiceVolumeBind":    {"propagation", "create_host_path"},
	"ServiceVolumeVolume":  {"labels", "nocopy", "subpath"},
	"ServiceVolumeTmpfs":   {"size", "mode"},
	"FileReferenceConfig":  {"source", "target", "uid", "gid", "mode"},
	"ServiceDependency":    {"condition", "required"},
	"ServiceHook":          {"command"},
	"PreStartHook":         {"per_replica"},
	"JobConfig":            {"triggers"},
	"TriggerConfig":        {"schedule"},
	"ScheduleConfig":       {"cron", "timezone"},
	"NetworkConfig":        {"name", "driver", "driver_opts", "ipam", "external", "internal", "attachable", "labels", "enable_ipv4", "enable_ipv6"},
	"IPAMConfig":           {"driver", "config"},
	"IPAMPool":             {"subnet", "gateway", "ip_range"},
	"VolumeConfig":         {"name", "driver", "driver_opts", "external", "labels"},
	"FileObjectConfig":     {"name", "file", "environment", "content", "external", "labels", "template_driver"},
}

// TestEveryFieldHasAnAnswer walks the types of the specification: each field is
// honoured, says nothing to a cluster, or is refused with a remedy, and only one of these.
func TestEveryFieldHasAnAnswer(t *testing.T) {
	seen := map[string]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(typ.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		name := typeName(typ)
		if seen[name] || slices.Contains(leaf, name) || !strings.Contains(typ.PkgPath(), "compose-go") {
			return
		}
		seen[name] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			if tag := tagOf(f); tag != "" {
				answers := 0
				for _, in := range [][]string{honoured[name], silent[name], slices.Collect(maps.Keys(refused[name]))} {
					if slices.Contains(in, tag) {
						answers++
					}
				}
				if answers != 1 {
					t.Errorf("%s.%s has %d answers: it is to be honoured, silent or refused", name, tag, answers)
				}
			}
			if f.Anonymous || tagOf(f) != "" {
				walk(f.Type)
			}
		}
	}
	for _, v := range []any{types.Services{}, types.Jobs{}, types.Networks{}, types.Volumes{}, types.Secrets{}, types.Configs{}} {
		walk(reflect.TypeOf(v))
	}
}
