// Package deploy contains the files for running detachd. Two of them are in the
// binary: the leavers of the demonstration and the example configuration.
package deploy

import _ "embed"

// Leavers is examples/leavers.csv: several hundred invented people who left,
// with their desktops, in two projects.
//
//go:embed examples/leavers.csv
var Leavers string

// ExampleConfig is config.example.yaml.
//
//go:embed config.example.yaml
var ExampleConfig []byte
