// Command incluster is a pod's program that finds the API as every client-go
// program does: it says who it is, and lists the config maps of its namespace.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	me, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("I am", me.Status.UserInfo.Username, "in", me.Status.UserInfo.Extra["authentication.kubernetes.io/pod-name"])
	list, err := client.CoreV1().ConfigMaps(string(namespace)).List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Println("list:", err)
		return
	}
	fmt.Println("config maps:", len(list.Items))
}
