package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"trireme/test/cluster"
)

// The service of the comparison: this many tasks of a real busybox container, as many
// times after one to warm up. Docker's engine asks the registry before each task: one
// that refuses at once, and has it run what it has.
const (
	swarmReplicas = 50
	swarmRounds   = 3
	swarmImage    = "127.0.0.1:1/busybox:1"
)

// swarms measures how long a service of 50 tasks takes to run on one machine, from the
// request to the last task that runs, here and on Docker's own swarm of Debian
// (docker.io), which is unpacked below build and runs on a socket and data of its own. Ours is
// measured with both runtime drivers; the ratios are those of the default one.
// Its tasks are on its bridge, without rules of a firewall (this kernel has none of the
// modules that it asks for); ours are as ever. Both are looked at every 20 ms, in turn.
func swarms(ctx context.Context, c *config) (lines []line, err error) {
	dir, err := os.MkdirTemp("", "trireme-swarm-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	image := filepath.Join(dir, "busybox.tar")
	if out, err := exec.CommandContext(ctx, "go", "run", "./hack/mkimage", "-busybox", "-name", swarmImage, "-o", image).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making the image: %w: %s", err, out)
	}
	err = hosts(ctx, c, 3, func(ctx context.Context, cl *cluster.Cluster) error {
		engines := map[string]engine{}
		for i, name := range []string{"trireme", "native"} { // by CRI, and by our own runtime
			h := cl.Hosts[i]
			if name == "native" {
				if err := errors.Join(h.Start("up", "--runtime", "native"), h.Ready(ctx)); err != nil {
					return err
				}
			}
			if _, err := h.Trireme(ctx, "image", "import", image); err != nil {
				return err
			}
			engines[name] = engine{filepath.Join(h.Root, "docker.sock"), h.Root}
		}
		theirs, err := startDockerd(ctx, cl.Hosts[2], dir, image)
		if err != nil {
			return err
		}
		engines["docker"] = theirs.engine
		lines, err = compareSwarms(ctx, engines)
		return errors.Join(err, theirs.stop())
	})
	return lines, err
}

func compareSwarms(ctx context.Context, engines map[string]engine) ([]line, error) {
	took, used := map[string][]time.Duration{}, map[string]float64{}
	names := slices.Sorted(maps.Keys(engines))
	for round := range swarmRounds + 1 {
		for _, name := range names {
			d, mb, err := engines[name].round(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if round > 0 {
				took[name] = append(took[name], d)
				used[name] = max(used[name], mb)
			}
		}
	}
	detail := map[string]any{"replicas": swarmReplicas, "rounds": swarmRounds}
	for _, name := range names {
		detail[name+"_s"], detail[name+"_mb"] = median(took[name]).Seconds(), used[name]
	}
	return []line{
		{"docker_50_real_time_ratio", median(took["trireme"]).Seconds() / median(took["docker"]).Seconds(), "ratio", detail},
		{"docker_50_real_mem_ratio", used["trireme"] / used["docker"], "ratio", detail},
	}, nil
}

// engine is a Docker API, and what the command lines of its processes have in them.
type engine struct{ socket, mark string }

func (e engine) call(ctx context.Context, method, path string, body, answer any) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
	}}}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker/v1.41"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// round makes the service, waits until all of its tasks run, and takes it away. It
// returns how long they took and the memory of the engine's processes then, in MB.
func (e engine) round(ctx context.Context) (took time.Duration, mb float64, err error) {
	replicas, grace := uint64(swarmReplicas), time.Duration(0)
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "bench"}, Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}}
	spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: swarmImage, Command: []string{"sleep", "1000"}, StopGracePeriod: &grace}
	begun := time.Now()
	if err := e.call(ctx, http.MethodPost, "/services/create", &spec, nil); err != nil {
		return 0, 0, err
	}
	if err := e.until(ctx, func(running, _ int) bool { return running == swarmReplicas }); err != nil {
		return 0, 0, err
	}
	took = time.Since(begun)
	if mb, err = e.memory(); err != nil {
		return 0, 0, err
	}
	if err := e.call(ctx, http.MethodDelete, "/services/bench", nil, nil); err != nil {
		return 0, 0, err
	}
	return took, mb, e.until(ctx, func(_, all int) bool { return all == 0 })
}

// until looks every 20 ms how many tasks there are and how many of them run.
func (e engine) until(ctx context.Context, enough func(running, all int) bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var tasks []swarm.Task
		if err := e.call(ctx, http.MethodGet, "/tasks", nil, &tasks); err != nil {
			return err
		}
		running := 0
		for i := range tasks {
			if tasks[i].Status.State == swarm.TaskStateRunning {
				running++
			}
		}
		if enough(running, len(tasks)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d tasks, %d run: %w", len(tasks), running, ctx.Err())
		case <-tick.C:
		}
	}
}

// memory returns the proportional set size of the engine's processes in MB, without
// those of containers.
func (e engine) memory() (mb float64, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !bytes.Contains(line, []byte(e.mark)) {
			continue // it has ended, or is another's
		}
		rollup, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(rollup)) {
			if f := strings.Fields(l); len(f) == 3 && f[0] == "Pss:" {
				kb, err := strconv.ParseFloat(f[1], 64)
				if err != nil {
					return 0, err
				}
				mb += kb / 1000
			}
		}
	}
	return mb, nil
}

// dockerd is Docker's own engine of Debian.
type dockerd struct {
	engine
	process *exec.Cmd
}

// dockerPackages are what it is made of.
var dockerPackages = []string{"docker.io", "containerd", "runc", "iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11", "tini"}

// unpackDocker brings the packages below build, unless they are there.
func unpackDocker(ctx context.Context) (string, error) {
	root, err := filepath.Abs("build/dockerd")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(root, "usr/sbin/dockerd")); err == nil {
		return root, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	script := `cd "$1" && shift && apt-get -qq download "$@" && for d in *.deb; do dpkg -x "$d" . && rm "$d"; done`
	if out, err := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh", root}, dockerPackages...)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("bringing Debian's docker.io: %w: %s", err, out)
	}
	return root, nil
}

// startDockerd starts the engine on a machine of its own, makes a swarm of it, and
// loads the image.
func startDockerd(ctx context.Context, h *cluster.Host, dir, image string) (*dockerd, error) {
	root, err := unpackDocker(ctx)
	if err != nil {
		return nil, err
	}
	state := filepath.Join(dir, "dockerd")
	d := &dockerd{engine: engine{filepath.Join(state, "docker.sock"), state}}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(state, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.process = h.Command(context.WithoutCancel(ctx), filepath.Join(root, "usr/sbin/dockerd"), "-H", "unix://"+d.socket, "--data-root", filepath.Join(state, "data"),
		"--exec-root", filepath.Join(state, "exec"), "--pidfile", filepath.Join(state, "pid"), "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--storage-driver", "overlay2")
	d.process.Env = append(os.Environ(), "PATH="+filepath.Join(root, "usr/sbin")+":"+filepath.Join(root, "usr/bin")+":"+os.Getenv("PATH"), "LD_LIBRARY_PATH="+filepath.Join(root, "usr/lib/x86_64-linux-gnu"))
	d.process.Stdout, d.process.Stderr = log, log
	d.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.process.Start(); err != nil {
		return nil, err
	}
	if err := d.prepare(ctx, h, image); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, text), d.stop())
	}
	return d, nil
}

func (d *dockerd) prepare(ctx context.Context, h *cluster.Host, image string) error {
	if err := h.Await(ctx, "dockerd answers", func() error { return d.call(ctx, http.MethodGet, "/info", nil, nil) }); err != nil {
		return err
	}
	init := swarm.InitRequest{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: h.Address}
	if err := d.call(ctx, http.MethodPost, "/swarm/init", &init, nil); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "docker", "load", "-i", image)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+d.socket)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker load: %w: %s", err, out)
	}
	return nil
}

// stop ends the engine and its containers, and takes its mounts away.
func (d *dockerd) stop() error {
	_ = d.process.Process.Signal(syscall.SIGTERM) // it may have ended
	err := d.process.Wait()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		err = nil // it ends as it likes
	}
	mounts, readErr := os.ReadFile("/proc/self/mounts")
	all := slices.Collect(strings.Lines(string(mounts)))
	slices.Reverse(all)
	for _, m := range all {
		if f := strings.Fields(m); len(f) > 1 && strings.HasPrefix(f[1], d.mark) {
			err = errors.Join(err, syscall.Unmount(f[1], syscall.MNT_DETACH))
		}
	}
	return errors.Join(err, readErr)
}
