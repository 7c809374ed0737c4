package object

// FileOwnersAnnotation returns the annotation of a pod that gives files of one of its
// volumes, whose content comes from objects, to users: {"PATH":"UID:GID"} as JSON.
// Kubernetes has no field for it.
func FileOwnersAnnotation(volume string) string { return "trireme.dev/file-owners." + volume }
