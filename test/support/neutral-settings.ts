/** What the parts of `agent upload` are told where nothing is configured. */
import {
  LOCAL_PLACES,
  type PlaceSettings,
  type SelectionSettings,
  type StartSettings,
  type TransformSettings,
} from "../../src/upload/settings.ts";

export const NO_SELECTION: SelectionSettings = {
  units: [],
  identifiers: [],
  priorities: undefined,
  facilities: [],
  grep: [],
  matches: [],
  excludeUnits: [],
  excludeIdentifiers: [],
  excludeFacilities: [],
  excludePriorities: [],
  excludeGrep: [],
  excludeMatches: [],
};

export const NO_TRANSFORM: TransformSettings = { dropFields: [], redactFields: [], addFields: [] };

/** From the first entry to the last. */
export const NO_START: StartSettings = {
  cursor: undefined,
  afterCursor: undefined,
  sinceUsec: undefined,
  untilUsec: undefined,
  boot: undefined,
  lines: undefined,
  maxAgeUsec: undefined,
};

export function placesOf(places: Partial<PlaceSettings>): PlaceSettings {
  return { ...LOCAL_PLACES, ...places };
}
