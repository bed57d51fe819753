// Command strict reads manifests as the API server does with fieldValidation=Strict: an
// unknown or repeated field is an error. It is a module of its own, so that nothing else
// depends on Kubernetes.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(r io.Reader) error {
	docs := utilyaml.NewYAMLReader(bufio.NewReader(r))
	for {
		text, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var of meta.TypeMeta
		if err := yaml.Unmarshal(text, &of); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		var into any
		switch of.APIVersion + " " + of.Kind {
		case " ": // comments only
			continue
		case "apps/v1 Deployment":
			into = new(apps.Deployment)
		case "v1 ConfigMap":
			into = new(core.ConfigMap)
		case "v1 Pod":
			into = new(core.Pod)
		case "v1 Service":
			into = new(core.Service)
		case "networking.k8s.io/v1 NetworkPolicy":
			into = new(networking.NetworkPolicy)
		case "policy/v1 PodDisruptionBudget":
			into = new(policy.PodDisruptionBudget)
		case "monitoring.coreos.com/v1 PrometheusRule":
			into = new(monitoring.PrometheusRule)
		case "monitoring.coreos.com/v1 ServiceMonitor":
			into = new(monitoring.ServiceMonitor)
		default:
			return fmt.Errorf("no type for %s %s", of.APIVersion, of.Kind)
		}
		asJSON, err := yaml.YAMLToJSONStrict(text)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", of.Kind, err, text)
		}
		unknown, err := json.UnmarshalStrict(asJSON, into)
		if err := errors.Join(append(unknown, err)...); err != nil {
			return fmt.Errorf("%s: %w\n%s", of.Kind, err, text)
		}
	}
}
