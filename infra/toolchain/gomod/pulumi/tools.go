//go:build tools

// Package tools names the one binary that this module exists to pin.
package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
