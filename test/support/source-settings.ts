/** Settings for `openSource` in tests: everything of one directory, not followed. */
import type {
  PlaceSettings,
  SelectionSettings,
  StartSettings,
  TransformSettings,
} from "../../src/upload/settings.ts";

export interface SourceSettings {
  places: PlaceSettings;
  start: StartSettings;
  selection: SelectionSettings;
  transform: TransformSettings;
  follow: boolean;
}

export const EVERYTHING: SelectionSettings = {
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

export const UNCHANGED: TransformSettings = { dropFields: [], redactFields: [], addFields: [] };

export function placesOf(places: Partial<PlaceSettings>): PlaceSettings {
  return {
    exportFiles: [],
    files: [],
    directory: undefined,
    machine: undefined,
    namespace: undefined,
    system: false,
    user: false,
    merge: false,
    ...places,
  };
}

export function sourceSettings(
  directory: string,
  options: Partial<Omit<SourceSettings, "start" | "selection">> & {
    start?: Partial<StartSettings>;
    selection?: Partial<SelectionSettings>;
  } = {},
): SourceSettings {
  const { start, selection, ...rest } = options;
  return {
    places: placesOf({ directory }),
    start: {
      cursor: undefined,
      afterCursor: undefined,
      sinceUsec: undefined,
      untilUsec: undefined,
      boot: undefined,
      lines: undefined,
      maxAgeUsec: undefined,
      ...start,
    },
    selection: { ...EVERYTHING, ...selection },
    transform: UNCHANGED,
    follow: false,
    ...rest,
  };
}
