package dataplane

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dataplane/link"
	"trireme/internal/dataplane/plugin"
)

// podWaitMax is how long a sandbox waits for its pod's address to arrive; then
// the runtime reports the failure, and the agent tries again.
const podWaitMax = 10 * time.Second

// serveCalls answers the CNI plugin until ctx ends.
func (d *Dataplane) serveCalls(ctx context.Context, l net.Listener) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		calls.Go(func() { d.serveCall(ctx, c) })
	}
}

func (d *Dataplane) serveCall(ctx context.Context, c net.Conn) {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(plugin.Deadline)); err != nil {
		return
	}
	var r plugin.Request
	if err := json.NewDecoder(c).Decode(&r); err != nil {
		d.cfg.Log.Warn("reading a call of the CNI plugin", "err", err)
		return
	}
	var answer plugin.Response
	result, err := d.call(ctx, r)
	if err == nil && result != nil {
		answer.Result, err = json.Marshal(result)
	}
	if err != nil {
		d.cfg.Log.Warn("a CNI call did not work", "command", r.Command, "sandbox", r.ContainerID, "args", r.Args, "err", err)
		if !errors.As(err, &answer.Error) {
			answer.Error = &plugin.Error{Code: plugin.CodeInternal, Msg: err.Error()}
		}
		answer.Error.CNIVersion = r.Config.CNIVersion
	}
	if err := json.NewEncoder(c).Encode(answer); err != nil {
		d.cfg.Log.Warn("answering the CNI plugin", "err", err)
	}
}

func (d *Dataplane) call(ctx context.Context, r plugin.Request) (any, error) {
	if !slices.Contains(plugin.Versions, r.Config.CNIVersion) {
		return nil, refused(1, "CNI version "+r.Config.CNIVersion+" is not spoken here")
	}
	switch r.Command {
	case "ADD":
		res, _, err := d.addPod(ctx, r)
		return res, err
	case "DEL":
		return nil, d.DelPod(ctx, r.ContainerID)
	case "CHECK":
		pod, err := d.pod(ctx, r)
		if err != nil {
			return nil, err
		}
		return nil, d.links.CheckPod(r.ContainerID, pod.Addresses)
	case "GC":
		hosts := d.tenants.outs(d.links)
		for _, a := range r.Config.Valid {
			hosts[d.links.Host(a.ContainerID)] = true
		}
		return nil, d.links.PruneHosts(func(host string) bool { return hosts[host] })
	case "STATUS":
		d.podsMu.Lock()
		defer d.podsMu.Unlock()
		if !d.ready {
			return nil, refused(plugin.CodeUnavailable, "this node has no pod subnet yet")
		}
		return nil, nil
	}
	return nil, refused(plugin.CodeInvalidEnvironment, "CNI_COMMAND "+r.Command+" is unknown")
}

func refused(code int, msg string) *plugin.Error { return &plugin.Error{Code: code, Msg: msg} }

// result is CNI's success result.
type result struct {
	CNIVersion string      `json:"cniVersion"`
	Interfaces []iface     `json:"interfaces"`
	IPs        []ipResult  `json:"ips"`
	Routes     []ipRoute   `json:"routes"`
	DNS        dnsSettings `json:"dns"`
}

type iface struct {
	Name    string `json:"name"`
	MAC     string `json:"mac"`
	Sandbox string `json:"sandbox,omitempty"`
}

type ipResult struct {
	Interface int    `json:"interface"`
	Address   string `json:"address"`
	Gateway   string `json:"gateway"`
}

type ipRoute struct {
	Dst string `json:"dst"`
	GW  string `json:"gw"`
}

type dnsSettings struct{}

// addPod answers an ADD, and returns the pod's addresses.
func (d *Dataplane) addPod(ctx context.Context, r plugin.Request) (any, []netip.Addr, error) {
	if r.NetNS == "" || r.IfName == "" || r.ContainerID == "" {
		return nil, nil, refused(plugin.CodeInvalidEnvironment, "CNI_NETNS, CNI_IFNAME and CNI_CONTAINERID are needed")
	}
	pod, err := d.pod(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	more, routes, err := d.awaitTenants(ctx, r, pod.Name)
	if err != nil {
		return nil, nil, err
	}
	pod.Routes, pod.Answers = routes, routes != nil
	w, err := d.links.AddPod(pod)
	if err != nil {
		return nil, nil, err
	}
	if err := d.join(more); err != nil {
		return nil, nil, errors.Join(err, d.DelPod(ctx, r.ContainerID))
	}
	res := result{
		CNIVersion: r.Config.CNIVersion,
		Interfaces: []iface{{Name: w.Host, MAC: w.HostMAC}, {Name: r.IfName, MAC: w.MAC, Sandbox: r.NetNS}},
	}
	for i, a := range pod.Addresses {
		gw, everywhere := w.Gateways[i].String(), "0.0.0.0/0"
		if a.Is6() {
			everywhere = "::/0"
		}
		res.IPs = append(res.IPs, ipResult{Interface: 1, Address: netip.PrefixFrom(a, a.BitLen()).String(), Gateway: gw})
		res.Routes = append(res.Routes, ipRoute{Dst: everywhere, GW: gw})
	}
	return res, pod.Addresses, nil
}

// pod returns the place of the call's pod, once its address and this node's
// subnet are known and the rules for it are in force.
func (d *Dataplane) pod(ctx context.Context, r plugin.Request) (link.Pod, error) {
	args := map[string]string{}
	for _, pair := range strings.Split(r.Args, ";") {
		k, v, _ := strings.Cut(pair, "=")
		args[k] = v
	}
	key := types.NamespacedName{Namespace: args["K8S_POD_NAMESPACE"], Name: args["K8S_POD_NAME"]}
	uid := args["K8S_POD_UID"]
	ctx, cancel := context.WithTimeout(ctx, podWaitMax)
	defer cancel()
	for {
		d.podsMu.Lock()
		pod, changed, ready := d.settled[key], d.changed, d.ready
		d.podsMu.Unlock()
		if pod != nil && ready && (uid == "" || uid == string(pod.UID)) {
			if all := podAddresses(pod); len(all) > 0 {
				return link.Pod{ID: r.ContainerID, Name: key.String(), Addresses: all, NetNS: r.NetNS, IfName: r.IfName}, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return link.Pod{}, refused(plugin.CodeTryAgain, "pod "+key.String()+" has no address on this node yet")
		}
	}
}
