/**
 * What the benchmark found: ratios with their targets first, then the times that they are made of.
 *
 * @module
 */

import { summarize } from "./measure.ts";

/** Something measured several times. */
interface Figure {
  /** The part of the benchmark that it belongs to. */
  readonly section: string;
  /** What was measured, in a few words. */
  readonly what: string;
  /** The unit of the values. */
  readonly unit: "ms" | "MiB" | "per second";
  /** One value for each time that it was measured. */
  readonly values: readonly number[];
  /** What a reader has to know of it. */
  readonly note?: string;
}

/** Something that is to stay above or below a bound. */
interface Target {
  /** What it is, in a few words. */
  readonly what: string;
  /** Its value. */
  readonly value: number;
  /** The unit of value and bound. */
  readonly unit: "" | "s" | "MiB";
  /** How the value has to compare with the bound. */
  readonly relation: "≤" | "<" | "≥" | "=";
  /** The bound. */
  readonly bound: number;
}

/** All that one benchmark found. */
export class Report {
  /** What has a target, in the order in which it was noted. */
  readonly targets: Target[] = [];
  /** What was measured, in that order. */
  readonly figures: Figure[] = [];

  /** Notes a figure, and gives its median. */
  add(
    section: string,
    what: string,
    values: readonly number[],
    more: Partial<Pick<Figure, "unit" | "note">> = {},
  ): number {
    this.figures.push({ section, what, unit: "ms", values, ...more });
    return summarize(values).median;
  }

  /** Notes a ratio, or another figure that has a target. */
  target(what: string, value: number, relation: Target["relation"], bound: number, unit: Target["unit"] = ""): void {
    this.targets.push({ what, value, relation, bound, unit });
  }

  /** The tables, in Markdown. */
  toString(): string {
    const targets = this.targets.map((target) => [
      target.what,
      withUnit(target.value, target.unit),
      `${target.relation} ${withUnit(target.bound, target.unit)}`,
      isReached(target) ? "reached" : "**missed**",
    ]);
    const figures = this.figures.map(({ section, what, unit, values, note }) => {
      const { median, lower, upper } = summarize(values);
      return [
        section,
        what,
        `${plain(median)} ${unit}`,
        `${plain(lower)} to ${plain(upper)}`,
        `${values.length}`,
        note ?? "",
      ];
    });
    return `${table(["ratio", "figure", "target", ""], targets)}

${table(["", "", "median", "quartiles", "runs", ""], figures)}
`;
  }

  /** The same for a program. */
  toJSON(): unknown {
    return {
      targets: this.targets.map((target) => ({ ...target, reached: isReached(target) })),
      figures: this.figures.map((figure) => ({ ...figure, ...summarize(figure.values) })),
    };
  }
}

/** Whether a target is reached. */
function isReached({ value, relation, bound }: Target): boolean {
  switch (relation) {
    case "≤":
      return value <= bound;
    case "<":
      return value < bound;
    case "≥":
      return value >= bound;
    case "=":
      return value === bound;
  }
}

function withUnit(value: number, unit: Target["unit"]): string {
  const digits = Number.isInteger(value) ? 0 : unit === "MiB" ? 0 : 2;
  return `${value.toFixed(digits)}${unit === "" ? "" : ` ${unit}`}`;
}

function plain(value: number): string {
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(3, title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
