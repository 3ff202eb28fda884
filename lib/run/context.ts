/**
 * What the body of a setup is given, and what it may ask for.
 *
 * @module
 */

import { ExitCode, Failure } from "../errors.ts";
import type { HostReader } from "../host/host.ts";
import { MIN_SECRET_LENGTH, Secret } from "../secret.ts";
import { type Configuration, ConfigurationError } from "./configuration.ts";
import { notPermitted } from "./permission.ts";
import type { Setup, SetupContext } from "./setup.ts";

/** What a {@linkcode SetupContext} is made of. */
export interface ContextParts {
  /** Makes a step true. */
  readonly ensure: SetupContext["ensure"];
  /** The host's configuration. */
  readonly configuration: Configuration;
  /** Any environment variable; a setup reads those that it declares. */
  readonly environment: (name: string) => string | undefined;
  /** The host, where secrets lie. */
  readonly host: Pick<HostReader, "file">;
  /** Tells the log of a secret. */
  readonly conceal: (secret: Secret) => void;
}

/** What the body of `setup` is given. What is wrong with something that it asks for is thrown where it asks. */
export function contextOf(setup: Setup, parts: ContextParts): SetupContext {
  const { ensure, configuration, host, conceal } = parts;
  const environment = (name: string) => {
    if (setup.needs.environment?.includes(name)) return parts.environment(name);
    throw new Failure(
      ExitCode.Defect,
      `Cannot read the environment variable "${name}" as the setup does not declare it`,
      { hint: `Declare it in the setup: { environment: ["${name}"] }` },
    );
  };
  return {
    ensure,
    get config() {
      return thereIs(configuration.container);
    },
    get hypervisor() {
      return thereIs(configuration.hypervisor);
    },
    environment,
    async secret(name, from) {
      const secret = "file" in from
        ? secretIn(name, `the file "${from.file}"`, await readFile(name, from.file, host))
        : secretIn(name, `the environment variable "${from.environment}"`, environment(from.environment));
      conceal(secret);
      return secret;
    },
  };
}

function thereIs<T>(configuration: T | ConfigurationError): T {
  if (configuration instanceof ConfigurationError) throw configuration;
  return configuration;
}

async function readFile(name: string, path: string, host: Pick<HostReader, "file">): Promise<string | undefined> {
  try {
    return await (await host.file(path))?.text();
  } catch (error) {
    throw error instanceof Deno.errors.NotCapable
      ? notPermitted("read", path, `${name} from the file "${path}"`)
      : error;
  }
}

/** The secret that a text holds, by itself or as `NAME=value`. `where` says where the text is from. */
function secretIn(name: string, where: string, text: string | undefined): Secret {
  // Base64 may end with "=", too.
  const value = text?.trim()
    .replace(/^(?:export )?(?:[A-Z_][A-Z0-9_]*=|[A-Za-z_]\w*=(?=[^=]))(["']?)(.*)\1$/, "$2");
  if (!value) {
    throw new ConfigurationError(`Cannot read ${name}: ${where} is ${text === undefined ? "not there" : "empty"}`);
  }
  if (value.length < MIN_SECRET_LENGTH) {
    throw new ConfigurationError(`Cannot use ${name}: ${where} has fewer than ${MIN_SECRET_LENGTH} characters`, {
      hint: "A value this short cannot be kept out of the log",
    });
  }
  return new Secret(name, value);
}
