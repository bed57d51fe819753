package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

const (
	completionPatience = 2 * time.Second
	mostCompletions    = 100
)

// completer lists values for the shell to complete, each alone or with a description.
type completer func(ctx context.Context, p *Program, args []string) []cobra.Completion

// completers are found by the word that stands for an argument or for the value of a flag
// in the help. A word with "file" is completed by the shell, any other word not at all.
var completers = map[string]completer{
	"operation":      completeOperations,
	"redrive":        completeRedrives,
	"cancellation":   completeCancellations,
	"recall":         completeRecalls,
	"key":            completeKeys,
	"session":        completeSessions,
	"protection":     completeProtections,
	"schedule":       completeSchedules,
	"project":        completeProjects,
	"alias":          completeProjects,
	"desktop":        completeInbox,
	"code":           completeCodes,
	"class":          completeClasses,
	"role":           fixed(names(access.Roles)...),
	"states":         fixed(names(tasks.States)...),
	"action":         fixed(names(tasks.AuditActions)...),
	"format":         fixed(names(report.Formats)...),
	"form":           fixed("wide"),
	"hold or ignore": fixed("hold", "ignore"),
	"once or skip":   fixed("once", "skip"),
	"skip or allow":  fixed("skip", "allow"),

	"locked or missing": fixed("locked", "missing"),
	"period":            fixed(string(tasks.LastHour), string(tasks.LastDay), string(tasks.LastWeek)),
}

// addCompletion gives the arguments and flags of all commands their completers.
func (p *Program) addCompletion(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		p.addCompletion(sub)
	}
	if words := argumentsOf(cmd); cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) >= len(words) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return p.complete(cmd, args, words[len(args)], typed)
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		word, _ := pflag.UnquoteUsage(f)
		// Fails only if the flag has a completer already.
		_ = cmd.RegisterFlagCompletionFunc(f.Name, func(
			cmd *cobra.Command, args []string, typed string,
		) ([]cobra.Completion, cobra.ShellCompDirective) {
			return p.complete(cmd, args, word, typed)
		})
	})
}

// argumentsOf gives the words for the arguments in the use line, such as operation.
func argumentsOf(cmd *cobra.Command) (words []string) {
	for _, word := range strings.Fields(cmd.Use)[1:] {
		if strings.HasPrefix(word, "-") {
			break
		}
		words = append(words, strings.ToLower(strings.Trim(word, "[]…")))
	}
	return words
}

func (p *Program) complete(cmd *cobra.Command, args []string, word, typed string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
	if strings.Contains(word, "file") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	list, known := completers[word]
	if !known {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	quiet := *p
	quiet.Stderr = io.Discard // a message would end up in the command line that is being typed
	ctx, cancel := context.WithTimeout(cmd.Context(), p.patience)
	defer cancel()
	before := typed[:strings.LastIndexByte(typed, ',')+1] // of a list such as failed,held
	for _, value := range list(ctx, &quiet, args) {
		if strings.HasPrefix(before+value, typed) {
			out = append(out, before+value)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// described is a completion with a description, in which text may be of anybody.
func described(value string, about ...string) cobra.Completion {
	var parts []string
	for _, x := range about {
		if x != "" {
			parts = append(parts, clip(printable(x), 60))
		}
	}
	return cobra.CompletionWithDesc(value, strings.Join(parts, ", "))
}

func fixed(values ...string) completer {
	return func(context.Context, *Program, []string) []cobra.Completion { return values }
}

// names gives values as text.
func names[T any](values []T) (out []string) {
	for _, v := range values {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// asked lists what a server has; nothing if it cannot be asked.
func asked[T any](p *Program, list func(c *client) ([]T, error), each func(T) cobra.Completion) (out []cobra.Completion) {
	c, err := p.connect("")
	if err != nil {
		return nil
	}
	defer c.close()
	items, err := list(c)
	if err != nil {
		return nil
	}
	for _, x := range items {
		out = append(out, each(x))
	}
	return out
}

func completeOperations(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]tasks.Operation, error) {
		ops, _, err := c.Operations(ctx, tasks.OperationFilter{}, mostCompletions, "")
		return ops, err
	}, func(op tasks.Operation) cobra.Completion {
		return described(op.ID, op.Project, stateText(op, p.Now()), size(op), op.Ticket)
	})
}

func completeRedrives(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]tasks.Redrive, error) {
		all, _, err := c.Redrives(ctx, mostCompletions, "")
		return all, err
	}, func(x tasks.Redrive) cobra.Completion {
		return described(x.ID, string(x.State()), filterText(x))
	})
}

func completeCancellations(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]tasks.Cancellation, error) {
		all, _, err := c.Cancellations(ctx, mostCompletions, "")
		return all, err
	}, func(x tasks.Cancellation) cobra.Completion {
		return described(x.ID, string(x.State()), cancelText(x.Filter))
	})
}

// completeInbox lists the desktops of an operation that are in the inbox.
func completeInbox(ctx context.Context, p *Program, args []string) []cobra.Completion {
	if len(args) == 0 {
		return nil
	}
	return asked(p, func(c *client) ([]tasks.Failure, error) {
		all, _, err := c.Failures(ctx, tasks.FailureFilter{Operation: args[0]}, mostCompletions, "")
		return all, err
	}, func(f tasks.Failure) cobra.Completion {
		return described(f.DesktopID, f.DesktopName, f.Code)
	})
}

func completeKeys(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]api.Key, error) { return c.Keys(ctx) }, func(k api.Key) cobra.Completion {
		return described(k.ID, k.Name, k.Role)
	})
}

func completeSessions(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]api.Session, error) { return c.Sessions(ctx) }, func(x api.Session) cobra.Completion {
		return described(x.ID, x.Owner, clock(x.LastUsedAt))
	})
}

func completeProtections(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]tasks.Protection, error) { return c.Protections(ctx) }, func(x tasks.Protection) cobra.Completion {
		return described(x.Name, string(x.Kind), x.Pattern)
	})
}

func completeSchedules(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]tasks.ScheduleView, error) {
		list, _, err := c.Schedules(ctx, "", mostCompletions, "")
		return list, err
	}, func(x tasks.ScheduleView) cobra.Completion { return described(x.Name, x.Project, x.Text()) })
}

func completeProjects(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]string, error) { return c.projects(ctx) }, func(alias string) cobra.Completion { return alias })
}

func completeCodes(ctx context.Context, p *Program, _ []string) (out []cobra.Completion) {
	v, err := p.codes(ctx)
	if err != nil {
		return nil
	}
	for _, c := range v.Codes {
		if c.Code != "" {
			out = append(out, described(c.Code, c.Why))
		}
	}
	return out
}

func completeClasses(ctx context.Context, p *Program, _ []string) (out []cobra.Completion) {
	v, err := p.codes(ctx)
	if err != nil {
		return nil
	}
	for _, c := range v.Classes {
		out = append(out, described(c.Class, c.Does))
	}
	return out
}
