// Package csi has drivers of the Container Storage Interface serve this node's
// volumes, as they serve a kubelet's (Kubernetes, "Volumes: csi"; CSI specification,
// "Node Service RPC").
//
// A driver makes a socket in ROOT/plugins_registry and says there who it is
// (k8s.io/kubelet/pkg/apis/pluginregistration/v1). The directory is looked at every
// second: what is new is asked, what has gone is forgotten. What the registered
// drivers say of the node becomes its CSINode and labels.
//
// Publish stages and publishes a pod's volume, Unpublish takes it away again and
// unstages what no other pod of the node uses. What there is to take away is in files
// only, with the kubelet's names, so an agent that starts needs no memory of it:
//
//	ROOT/pods/UID/volumes/kubernetes.io~csi/NAME/{vol_data.json,mount}
//	ROOT/plugins/kubernetes.io/csi/DRIVER/HASH/globalmount
//
// Drivers run in pods which mount directories of the kubelet, and name paths as they
// lie there: Home is the translation.
//
// Calls on one volume wait for each other; all else may run at the same time.
//
// To debug: ls ROOT/plugins_registry; kubectl get csinode NODE -o yaml; the driver's log.
package csi
