// SPDX-License-Identifier: Apache-2.0

// Renders a Helm chart with Helm's own engine and prints what would be installed as a JSON array of objects:
//
//	chart DIR [VALUES.yaml...]
//
// Values that the schema or a template refuses end it with exit code 1 and the reason on stderr.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: chart DIR [VALUES.yaml...]")
		os.Exit(2)
	}
	objects, err := render(os.Args[1], os.Args[2:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(objects)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func render(dir string, files []string) ([]map[string]any, error) {
	loaded, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	chosen := map[string]any{}
	for _, file := range files {
		values, err := chartutil.ReadValuesFile(file)
		if err != nil {
			return nil, err
		}
		// The later file wins.
		chosen = chartutil.CoalesceTables(values, chosen)
	}
	release := chartutil.ReleaseOptions{Name: "mq", Namespace: "messages", Revision: 1, IsInstall: true}
	values, err := chartutil.ToRenderValues(loaded, chosen, release, nil)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Render(loaded, values)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(texts))
	for name := range texts {
		if strings.HasSuffix(name, ".yaml") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var objects []map[string]any
	for _, name := range names {
		for _, text := range strings.Split(texts[name], "\n---\n") {
			var object map[string]any
			if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, text)
			}
			if len(object) > 0 {
				objects = append(objects, object)
			}
		}
	}
	return objects, nil
}
